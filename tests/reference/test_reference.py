"""The same mathematics as the published implementation, figure by figure (see data/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from figures import Reference
from torch import Tensor

from genifer.config import GanSettings, GeniferSettings
from genifer.nn.ada import COLOR, GEOMETRY, OPERATIONS, AdaController, augment, draw_amounts
from genifer.reference import load_classifier, load_discriminator, load_generator
from genifer.training.gan import GanBatch, GanStep, ema_decay
from genifer.training.genifer import next_task_losses
from genifer.training.stage import Stage

STAGES = range(7)


def assert_close(ours: Tensor | float, theirs: object, tolerance: float = 1e-4) -> None:
    """Relative to the largest magnitude in the array."""
    theirs = np.asarray(theirs, dtype=np.float64)
    ours = ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error <= tolerance, f"relative error {error:.2g} is above {tolerance:.0e}"


def test_generator(reference: Reference) -> None:
    figures = reference.arrays("generator.npz")
    labels = torch.from_numpy(figures["labels"]).long()
    n = len(labels)
    generator = load_generator(reference.state("generator"))
    with torch.no_grad():
        image = generator(reference.draw(1, n, generator.latent_dim), labels, reference.noise(10, n))
    assert_close(image, figures["image"])
    assert_close(image.std(), figures["image_scale"])


def test_discriminator(reference: Reference, module_with_discriminator: str) -> None:
    figures = reference.arrays("discriminator.npz")
    discriminator = load_discriminator(reference.state(module_with_discriminator))
    description = discriminator.description
    assert module_with_discriminator == f"discriminator_stage{description['stage']}"
    channels, side, stage = description["in_channels"], description["side"], description["stage"]
    for n in (8, 64):
        features = reference.draw(20 + stage, n, channels, side, side).requires_grad_()
        labels = 7 * torch.arange(n) % description["n_classes"]
        logits = discriminator(features, labels)
        (gradient,) = torch.autograd.grad(logits.sum(), features)
        assert_close(logits, figures[f"stage{stage}_n{n}_logit"][:, 0])
        assert_close(gradient.square().flatten(1).sum(1), figures[f"stage{stage}_n{n}_input_grad_sqnorm"])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_classifier(reference: Reference, mode: str) -> None:
    figures = reference.arrays("classifier.npz")
    images = reference.draw(30, 8, 3, 32, 32)
    with torch.no_grad():
        for stage in STAGES:
            classifier = load_classifier(reference.state("classifier_50")).train(mode == "train")
            features, logits = classifier.features_and_logits(images, stage)
            assert_close(features.mean(), figures[f"{mode}_stage{stage}_mean"], 1e-3)
            assert_close(features.std(), figures[f"{mode}_stage{stage}_std"])
            assert_close(features.flatten()[:64], figures[f"{mode}_stage{stage}_first64"])
            assert_close(logits, figures[f"{mode}_logits"])
        assert_close(features, figures[f"{mode}_latent"])
    if mode == "train":
        running_mean = classifier.get_buffer("stages.0.1.running_mean")
        assert_close(running_mean, figures["train_bn1_running_mean_after"])


def test_growing_keeps_known_classes(reference: Reference) -> None:
    classifier = load_classifier(reference.state("classifier_50")).eval()
    images = reference.draw(30, 8, 3, 32, 32)
    with torch.no_grad():
        before = classifier(images)
        classifier.grow(10)
        after = classifier(images)
    assert after.shape == (8, 60)
    assert_close(after[:, :50], before)


@pytest.mark.parametrize("freeze", [False, True])
def test_next_task_losses(reference: Reference, freeze: bool) -> None:
    figures = reference.json("classifier_losses.json")
    expected = figures["losses"][f"KD_sep|single_L2|freeze_bn={freeze}"]
    n_replayed, n_real = figures["n_prev"], figures["n_curr"]
    mean = torch.tensor([0.507, 0.487, 0.441]).view(1, 3, 1, 1)
    std = torch.tensor([0.267, 0.256, 0.276]).view(1, 3, 1, 1)
    replayed = 1.5 * reference.draw(40, n_replayed, 3, 32, 32)
    replayed = torch.maximum(torch.minimum(replayed, (1 - mean) / std), -mean / std)
    images = torch.cat([replayed, reference.draw(41, figures["batch"], 3, 32, 32)[:n_real]])
    labels = reference.integers(42, 50, 60, figures["batch"])[:n_real]
    settings = GeniferSettings(
        cross_entropy_weight=figures["ce_coefficient"],
        distillation_weight=figures["coefficient"],
        feature_distillation_weight=figures["feat_coefficient"],
    )
    old = load_classifier(reference.state("classifier_50")).train(not freeze)
    new = load_classifier(reference.state("classifier_60")).train()
    losses = next_task_losses(new, old, images, labels, settings)
    losses.loss.backward()
    assert_close(losses.cross_entropy, expected["ce"])
    assert_close(settings.distillation_weight * losses.distillation, expected["out_distill"])
    assert_close(settings.feature_distillation_weight * losses.feature_distillation, expected["feat_distill"])
    assert_close(losses.loss, expected["total"])
    norms = torch.stack([p.grad.norm() for p in new.parameters() if p.grad is not None])
    assert_close(norms.norm(), expected["grad_norm"], 1e-3)


def test_gan_step(reference: Reference) -> None:
    figures = reference.json("gan_step.json")
    expected = figures["scalars"]
    n, n_old = 64, 32
    old = load_generator(reference.state("generator", seed=1000))
    new = load_generator(reference.state("generator", seed=1500))
    discriminator = load_discriminator(reference.state("discriminator_stage4", seed=2400))
    classifier = load_classifier(reference.state("classifier_60"))
    settings = GanSettings.model_validate({"ada": {"enabled": False}})
    stage = Stage("test", 0, 1, Path(), torch.device("cpu"), "fp32")
    weight = 10 * expected["g_dist_factor"]
    gan = GanStep(
        settings, new, discriminator, classifier, stage, old_generator=old, distillation_weight=weight
    )
    old_labels = reference.integers(51, 0, 50, n_old)
    new_labels = reference.integers(52, 50, 60, n - n_old)
    batch = GanBatch(
        z=reference.draw(50, n, 512),
        labels=torch.cat([old_labels, new_labels]),
        images=reference.draw(53, n, 3, 32, 32)[: n - n_old],
        real_labels=torch.cat([old_labels, reference.integers(54, 50, 60, n - n_old)]),
        old_noise=reference.noise(60, n_old),
        discriminator_noise=reference.noise(70, n),
        generator_noise=reference.noise(80, n),
    )
    theirs = {
        f"discriminator.{k}": f"discriminator.{v}" for k, v in _names(discriminator, "discriminator").items()
    }
    theirs |= {f"generator.{k}": f"generator.{v}" for k, v in _names(new, "generator").items()}

    before = _flat(discriminator)
    scalars = gan.discriminator_step(batch, 0)
    for ours, name in (("d_real", "d_real"), ("d_fake", "d_fake"), ("d_loss", "d_loss"), ("r1", "r1")):
        assert_close(scalars[ours], expected[name])
    assert_close((_flat(discriminator) - before).norm(), expected["d_update_norm"], 1e-3)
    assert_close(_flat(discriminator).norm(), expected["d_weight_norm_after"])
    ours = {f"discriminator.{name}": p.grad for name, p in discriminator.named_parameters()}

    before = _flat(new)
    scalars = gan.generator_step(batch)
    assert_close(scalars["g_loss"], expected["g_gan_loss"])
    assert_close(scalars["g_distillation"], expected["g_dist_loss"])
    assert_close((_flat(new) - before).norm(), expected["g_update_norm"], 1e-3)
    ours |= {f"generator.{name}": p.grad for name, p in new.named_parameters()}

    compared = 0
    for name, gradient in ours.items():
        assert gradient is not None
        assert_close(gradient.norm(), figures["grad_norms"][theirs[name]], 1e-3)
        compared += 1
    assert compared == len(figures["grad_norms"])
    assert gan.discriminator_optimizer.param_groups[0]["lr"] == pytest.approx(expected["d_lr"])
    assert gan.discriminator_optimizer.param_groups[0]["betas"][1] == pytest.approx(expected["d_beta2"])
    assert gan.generator_optimizer.param_groups[0]["lr"] == pytest.approx(expected["g_lr"])


def test_r1_alone(reference: Reference) -> None:
    """Its gradient would not show beside that of the loss."""
    from genifer.losses import r1_penalty

    figures = reference.json("gan_step.json")
    discriminator = load_discriminator(reference.state("discriminator_stage4", seed=2400))
    classifier = load_classifier(reference.state("classifier_60")).eval()
    old = load_generator(reference.state("generator", seed=1000))
    old_labels = reference.integers(51, 0, 50, 32)
    with torch.no_grad():
        replayed = old(reference.draw(50, 64, 512)[:32], old_labels, reference.noise(60, 32))
        images = torch.cat([replayed, reference.draw(53, 64, 3, 32, 32)[:32]])
        features = classifier.features(images, 4)
    features.requires_grad_()
    logits = discriminator(features, torch.cat([old_labels, reference.integers(54, 50, 60, 32)]))
    r1_penalty(logits, features, 0.5 * figures["scalars"]["lazy_c"]).backward()
    names = _names(discriminator, "discriminator")
    gradients = {names[name]: parameter.grad for name, parameter in discriminator.named_parameters()}
    compared = 0
    for name, expected in figures["r1_alone_grad_norms"].items():
        if expected > 1e-9:
            gradient = gradients[name.removeprefix("discriminator.")]
            assert gradient is not None
            assert_close(gradient.norm(), expected, 1e-3)
            compared += 1
    assert compared > 0


def _names(module: torch.nn.Module, kind: str) -> dict[str, str]:
    """Our parameter names to the published ones."""
    names = {}
    for name, _ in module.named_parameters():
        parts = name.split(".")
        if kind == "discriminator":
            simple = {
                "last_conv": "logits.conv",
                "dense": "logits.dense",
                "to_embedding": "logits.logits",
                "class_embedding": "logits.onehot_project",
            }
            if parts[0] == "convs":
                names[name] = f"prologue.conv{int(parts[1]) + 1}.{parts[2]}"
            else:
                names[name] = f"{simple[parts[0]]}.{parts[1]}"
        elif parts[0] == "constant":
            names[name] = "const"
        elif parts[0] == "embedding":
            names[name] = f"onehot_embed.{parts[1]}"
        elif parts[0] == "mapping":
            names[name] = f"w{int(parts[1]) + 1}.{parts[2]}"
        elif parts[0] == "noise_scales":
            names[name] = f"conv{int(parts[1]) + 1}.noise_scale"
        else:
            layer, rest = (
                (f"conv{int(parts[1]) + 1}", parts[2:]) if parts[0] == "convs" else ("out_layer", parts[1:])
            )
            part = {"to_scale": "y1.", "to_shift": "y2.", "conv": ""}[rest[0]]
            names[name] = f"{layer}.{part}{rest[1]}"
    return names


def _flat(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()]).double()


def test_ema_schedule(reference: Reference) -> None:
    figures = reference.json("schedules.json")["ema_beta"]
    for n_iter, batches, step, beta in figures["rows"]:
        rampup = n_iter / figures["rampup_divisor"] * batches
        decay = ema_decay(step, figures["batch_size"], 1000 * figures["ema_kimg"], rampup)
        assert decay == pytest.approx(beta, rel=1e-6, abs=1e-12)


def test_ada_controller(reference: Reference) -> None:
    figures = reference.json("schedules.json")["ada_controller"]
    caps = {"p_after_each_step": figures["max_p"]}
    prefix = "p_after_each_step_if_max_p_is_"
    caps |= {
        key: float(key.removeprefix(prefix).replace("_", ".")) for key in figures if key.startswith(prefix)
    }
    assert len(caps) > 1
    for key, cap in caps.items():
        controller = AdaController(
            figures["target"], figures["interval"], figures["kimg_steps"], cap, 0.0, torch.device("cpu")
        )
        for step, sign in enumerate(figures["mean_sign_of_d_real"]):
            controller.update(step, torch.tensor(sign))
            assert float(controller.probability) == pytest.approx(figures[key][step], abs=1e-6)


def test_augmentation_at_percentile(reference: Reference, augmentation: str) -> None:
    figures = reference.arrays("ada.npz")
    images = torch.from_numpy(figures["input"])
    name, _, percentile = augmentation.partition("@")
    names = {"geometry": list(GEOMETRY), "color": list(COLOR), "all": list(OPERATIONS)}.get(name, [name])
    uniform = torch.full((len(images), 2), float(percentile))
    normal = torch.erfinv(2 * uniform - 1)
    amounts = {}
    for operation_name in names:
        if operation_name != "rotate_again":
            operation = OPERATIONS[operation_name]
            variate = (normal if operation.normal else uniform)[:, : operation.axes]
            amounts[operation_name] = operation.amount(variate, images.shape[-1])
    assert_close(augment(images, amounts), figures[augmentation])


def test_augmentation_at_random(reference: Reference) -> None:
    images = torch.from_numpy(reference.arrays("ada.npz")["input"])
    rng = torch.Generator().manual_seed(0)
    for probability, expected in reference.json("ada_statistics.json").items():
        changes = []
        for _ in range(6):
            batch = images.repeat(250, 1, 1, 1)
            amounts = draw_amounts(len(batch), images.shape[-1], torch.tensor(float(probability)), rng)
            changes.append((augment(batch, amounts) - batch).abs().mean((1, 2, 3)))
        change = torch.cat(changes)
        if expected["standard_error"] == 0:
            assert change.max() < 1e-3
            continue
        error = np.hypot(expected["standard_error"], float(change.std()) / len(change) ** 0.5)
        assert abs(float(change.mean()) - expected["mean_abs_change"]) < 4 * error
        share = expected["share_unchanged"]
        spread = (2 * max(share, 1 / 3000) * (1 - share) / 3000) ** 0.5
        assert abs(float((change < 1e-3).float().mean()) - share) < 4 * spread


def test_radam_is_pytorchs(reference: Reference) -> None:
    """The published one differs in the first steps; PyTorch's is used here, on purpose."""
    from genifer.config import OptimizerSettings
    from genifer.training.optimizers import make_optimizer

    figures = reference.arrays("radam.npz")
    key = next(name for name in figures if "torch" in name)
    target = torch.from_numpy(figures["target"])
    x = torch.nn.Parameter(torch.zeros_like(target))
    settings = OptimizerSettings(name="radam", learning_rate=0.01, weight_decay=5e-4)
    optimizer, _ = make_optimizer(settings, [x], 10**6)
    for row in figures[key]:
        optimizer.zero_grad()
        (x - target).square().sum().backward()
        optimizer.step()
        assert_close(x, row)
