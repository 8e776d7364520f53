"""Quality of a GAN's replay: judged by the classifier, in its features and in pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from genifer.config import EvaluationSettings
from genifer.data.batches import TaskData, load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import REPLAY_COLUMNS
from genifer.nn.classifier import Classifier
from genifer.runtime.csv_files import write_csv
from genifer.runtime.device import autocast, configure
from genifer.runtime.seeds import job_seed, seeded_generator
from genifer.runtime.tensors import load_description, save_tensors
from genifer.training.checkpoints import load_classifier, load_gan, require_classes
from genifer.training.replay import generate_replay

log = logging.getLogger(__name__)

NEAREST = "nearest replayed images"
"""Kind of the file that holds, for each class, the replayed image nearest to a training image."""


@torch.inference_mode()
def evaluate_replay(
    settings: EvaluationSettings,
    label: str,
    seed: int,
    gan_path: Path,
    classifier_path: Path,
    data_paths: Sequence[Path],
    output: Path,
    device: torch.device,
    precision: str = "fp32",
    judge_path: Path | None = None,
) -> None:
    """Compare the replay of each class with its training images.

    As many images are replayed as there are held-out ones, which serve as the reference. Writes
    ``replay.csv`` (`REPLAY_COLUMNS`), one row for each class that the GAN knows:

    * ``agreement``: share of the replayed images that the classifier assigns to the requested class, and the
      same share of the held-out images, which a perfect GAN would reach;
    * ``judge_agreement``: both shares by a classifier that no GAN was trained against, the joint bound's. A
      GAN that exploits its classifier without resembling real images has a high ``agreement`` and a low
      ``judge_agreement``;
    * ``coverage``: `coverage` of the held-out images by the replayed ones, in the features of the matching
      stage averaged over positions; a perfect GAN would reach 1 - 1 / 2^k, about 0.97;
    * ``frechet``: `frechet_distance` between replayed and training images in the same features, and the same
      for the held-out images;
    * ``nearest``: mean distance of the replayed images to the nearest training image of their class in grey
      levels (root mean square over the pixels), and the same for the held-out images. If the first is far
      below the second, the GAN copies.

    Also writes ``nearest.safetensors``: for each class the replayed image nearest to a training image, and
    that training image. In direct mode, where the generator makes features, nothing is compared in pixels.

    Args:
        classifier_path: the classifier that the GAN was trained against, which is the next task's teacher.
        label: value of the column ``method``.
        data_paths: prepared training and held-out files of the tasks 0 to t; those of each split in order.
        precision: fp32, tf32 or bf16; use the precision of trainings, because they generate replay in it.
        judge_path: a classifier trained on images of at least all these classes.
    """
    configure(device, precision)
    gan, trained = load_gan(gan_path, device), load_classifier(classifier_path, device)
    generator, classifier, normalize = gan.generator.eval(), trained.network.eval(), trained.normalization
    training_paths, held_out_paths = _by_split(data_paths)
    after_task = len(training_paths) - 1
    require_classes(classifier_path, classifier.n_classes, gan.n_classes_seen, f"the GAN {gan_path}")
    judge = None
    if (
        judge_path is not None and generator.stage == 0
    ):  # a generator of features makes none that the judge could read
        judge = load_classifier(judge_path, device).network.eval()
        if judge.n_classes < gan.n_classes_seen:
            require_classes(judge_path, judge.n_classes, gan.n_classes_seen, f"the GAN {gan_path}")
    rng = seeded_generator(job_seed(seed, "evaluate_replay", after_task), device)
    matched: int = gan.discriminator.description["stage"]

    def in_batches(function: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
        return torch.cat([function(batch) for batch in samples.split(settings.batch_size)])

    def features_and_logits(samples: Tensor, stage: int) -> Tensor:
        with autocast(device, precision):
            samples = samples.contiguous(memory_format=torch.channels_last) if samples.dim() == 4 else samples
            features = classifier.features(samples, matched, start=stage)
            logits = classifier(features, start=matched)
        return torch.cat([_averaged(features), logits.float()], dim=1)

    def of_real(pixels: Tensor) -> Tensor:
        return features_and_logits(normalize(pixels), 0)

    def of_replay(samples: Tensor) -> Tensor:
        return features_and_logits(samples, generator.stage)

    def replayed(labels: Tensor) -> Tensor:
        z = torch.randn(len(labels), generator.latent_dim, generator=rng, device=device)
        with autocast(device, precision):
            return generate_replay(generator, z, labels, generator.draw_noise(len(labels), rng), normalize)

    def judge_logits(images: Tensor) -> Tensor:
        assert judge is not None
        with autocast(device, precision):
            logits = judge(images.contiguous(memory_format=torch.channels_last))
        return logits[:, : gan.n_classes_seen].float()

    rows: list[list[object]] = []
    nearest: dict[str, list[Tensor]] = {"replayed": [], "training": []}
    names: list[str] = []
    for eval_task, paths in enumerate(zip(training_paths, held_out_paths, strict=True)):
        training, held_out = (load_task_data([path], device) for path in paths)
        for data, path in ((training, paths[0]), (held_out, paths[1])):
            if data.task != eval_task:
                raise GeniferError(f"{path}: holds task {data.task}; give those of tasks 0, 1, ... in order")
        for known in range(training.n_old, training.n_old + training.n_new):
            real, held = _of_class(training, known), _of_class(held_out, known)
            made = in_batches(replayed, torch.full((len(held),), known, device=device))
            real_features, _ = _features_and_classes(in_batches(of_real, real), classifier)
            held_features, held_classes = _features_and_classes(in_batches(of_real, held), classifier)
            made_features, made_classes = _features_and_classes(in_batches(of_replay, made), classifier)
            shares = [(made_classes == known), (held_classes == known)]
            if judge is not None:
                shares += [in_batches(judge_logits, x).argmax(1) == known for x in (made, normalize(held))]
            row = [label, seed, after_task, eval_task, known, training.class_names[known], len(held)]
            row += [int(shares[0].sum()), *(f"{share.float().mean().item():.6f}" for share in shares)]
            row += [""] * (4 - len(shares))
            row.append(f"{coverage(held_features, made_features):.6f}")
            row += [f"{frechet_distance(real_features, x):.6g}" for x in (made_features, held_features)]
            if generator.stage == 0:
                pixels = normalize.to_pixels(made)
                distances, indices = _to_nearest(pixels, real)
                closest = int(distances.argmin())
                nearest["replayed"].append(pixels[closest])
                nearest["training"].append(real[indices[closest]])
                row += [f"{d.mean().item():.6g}" for d in (distances, _to_nearest(held, real)[0])]
            else:
                row += ["", ""]
            rows.append(row)
            names.append(training.class_names[known])
        agreeing = [float(str(row[8])) for row in rows if row[3] == eval_task]
        log.info("task %d: agreement %.1f %%", eval_task, 100 * sum(agreeing) / len(agreeing))
    save_tensors(
        output / "nearest.safetensors",
        {name: torch.stack(images) for name, images in nearest.items() if images},
        {"kind": NEAREST, "class_names": names},
    )
    write_csv(output / "replay.csv", REPLAY_COLUMNS, rows)


def _by_split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Separate training files from held-out ones by their metadata."""
    training = [path for path in paths if load_description(path, "data set")["split"] == "train"]
    held_out = [path for path in paths if path not in training]
    if len(training) != len(held_out):
        raise GeniferError(
            f"{len(training)} training and {len(held_out)} held-out files; give both of every task so far"
        )
    return training, held_out


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared Fréchet distance of the Gaussians with the means and covariances of two samples.

    Heusel et al. (2017), equation 6. Small samples bias it upwards, so compare samples of the same size.

    Args:
        first, second: shape (n, features) each; a single sample counts as one without spread.
    """
    first, second = first.double(), second.double()
    between_means = (first.mean(0) - second.mean(0)).square().sum()
    of_first, of_second = _covariance(first), _covariance(second)
    values, vectors = torch.linalg.eigh(of_first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # The trace of (C1 C2)^(1/2) is that of (C1^(1/2) C2 C1^(1/2))^(1/2), a symmetric matrix.
    cross = torch.linalg.eigvalsh(root @ of_second @ root).clamp(min=0).sqrt().sum()
    return max(float(between_means + of_first.trace() + of_second.trace() - 2 * cross), 0.0)


def coverage(real: Tensor, generated: Tensor, k: int = 5) -> float:
    """Return the share of real samples with a generated one nearer than their k-th nearest real neighbour.

    Naeem et al. (2020), equation 4. Compare samples of about the same size.

    Args:
        real: shape (n, features); with fewer than k + 1 samples, the furthest neighbour counts.
        generated: shape (m, features).
    """
    k = min(k, len(real) - 1)
    if k < 1:
        return math.nan
    among_real = torch.cdist(real, real).kthvalue(k + 1).values  # the nearest is the sample itself
    return float((torch.cdist(real, generated).min(1).values < among_real).float().mean())


def _features_and_classes(joined: Tensor, classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Split joined features and logits; return features and most probable classes."""
    return joined[:, : -classifier.n_classes], joined[:, -classifier.n_classes :].argmax(1)


def _covariance(samples: Tensor) -> Tensor:
    centred = samples - samples.mean(0)
    return centred.T @ centred / max(len(samples) - 1, 1)


def _averaged(features: Tensor) -> Tensor:
    """Average features over positions, if there are any: shape (n, channels)."""
    return features.float().flatten(2).mean(2) if features.dim() == 4 else features.float()


def _of_class(data: TaskData, label: int) -> Tensor:
    images = data.of_class(label)
    if not len(images):
        raise GeniferError(
            f"class '{data.class_names[label]}' has no image to compare replay with; add images to it, "
            "or raise data.validation_fraction if evaluation.split is validation"
        )
    return images


def _to_nearest(images: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's distance (RMS, grey levels) to the nearest training image, and that one's index."""
    distances = torch.cdist(images.flatten(1).float(), training.flatten(1).float())
    smallest = distances.min(1)
    return smallest.values / images[0].numel() ** 0.5, smallest.indices
