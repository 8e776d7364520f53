"""Methods on frozen features, against the same statistics of all features at once, by other libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid
from support.chain import job, settings_with
from support.commands import TINY, merged
from support.in_process import genifer

from genifer.config import registry_of
from genifer.data.batches import load_task_data
from genifer.methods.fetril import Fetril
from genifer.methods.method import Method
from genifer.training.checkpoints import load_classifier, load_predictor
from genifer.training.untrained import untrained_task

CPU = torch.device("cpu")
N_TASKS, N_OLD, N_CLASSES = 3, 7, 10
Array = NDArray[Any]


class Frozen:
    """A first classifier and its features of all images; methods learn all tasks from it."""

    def __init__(self, folder: Path, images_per_class: int | None = None) -> None:
        self.folder = folder
        self.base = merged(TINY, {"data": {"train_images_per_class": images_per_class}})
        file = self.run_file({})
        assert genifer("prepare-data", "--config", file, "--output", folder / "data") == 0
        first = folder / "first"
        assert genifer("pretrain-classifier", "--config", file, "--output", first, self.data("train")[0]) == 0
        self.first = first / "classifier.safetensors"
        self.features, self.labels = self.features_of("train")
        self.test_features, self.test_labels = self.features_of("test")

    def run_file(self, changes: dict[str, Any]) -> Path:
        path = self.folder / "run.yaml"
        path.write_text(yaml.safe_dump(merged(self.base, changes)))
        return path

    def data(self, split: str) -> list[Path]:
        return [self.folder / "data" / f"task_{task}_{split}.safetensors" for task in range(N_TASKS)]

    def features_of(self, split: str) -> tuple[Array, Array]:
        trained, data = load_classifier(self.first, CPU), load_task_data(self.data(split), CPU)
        with torch.no_grad():
            features = trained.network.eval().features(trained.normalization(data.images), 6)
        return features.double().numpy(), data.labels.numpy()

    def learn(self, method: str, **settings: Any) -> Path | None:
        """Learn all tasks; returns the last checkpoint, or None if a training failed."""
        before, file = self.first, self.run_file({"methods": [method], method: settings})
        for task, data in enumerate(self.data("train")):
            output = self.folder / method / f"{task}_{abs(hash(str(settings)))}"
            given = ["--config", file, "--old-classifier", before, "--output", output, data]
            if genifer("train", method, *given):
                return None
            before = output / "classifier.safetensors"
        return before

    def learned(self, method: str, **settings: Any) -> tuple[Method, Array]:
        """What predicts after all tasks, and its logits of all test images."""
        checkpoint = self.learn(method, **settings)
        assert checkpoint is not None
        trained, predictor = load_predictor(checkpoint, CPU, registry_of([]))
        predictor.classifier.eval()
        images = trained.normalization(load_task_data(self.data("test"), CPU).images)
        with torch.no_grad():
            return predictor, predictor.logits(images).numpy()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return Frozen(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def frozen_few(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """Two images per class."""
    return Frozen(tmp_path_factory.mktemp("few"), 2)


@pytest.fixture(scope="module", params=["all images", "two per class"])
def either(request: pytest.FixtureRequest, frozen: Frozen, frozen_few: Frozen) -> Frozen:
    return frozen if request.param == "all images" else frozen_few


def test_nearest_class_mean(either: Frozen) -> None:
    nearest = NearestCentroid().fit(either.features, either.labels)
    predictor, logits = either.learned("ncm")
    np.testing.assert_allclose(predictor.memory["means"], nearest.centroids_, atol=1e-4)
    assert (logits.argmax(1) == nearest.predict(either.test_features)).all()


def test_the_table_is_that_of_the_method(frozen: Frozen) -> None:
    """`genifer evaluate` classifies by the means, not by the head."""
    checkpoint = frozen.learn("ncm")
    assert checkpoint is not None
    right = NearestCentroid().fit(frozen.features, frozen.labels).predict(frozen.test_features)
    output = frozen.folder / "accuracy"
    given = ["--config", frozen.run_file({}), "--method", "ncm", "--classifier", checkpoint]
    assert genifer("evaluate", *given, "--output", output, *frozen.data("test")) == 0
    table = pd.read_csv(output / "accuracy.csv")
    assert table["n_correct"].sum() == (right == frozen.test_labels).sum()
    assert table["accuracy"].min() > 0.1


def correlations(covariance: Array, settings: dict[str, float]) -> Array:
    """Shrunk and normalised, as FeCAM has it."""
    others = ~np.eye(len(covariance), dtype=bool)
    shrunk = covariance.copy()
    shrunk[~others] += settings["variance_shrinkage"] * covariance[~others].mean()
    shrunk[others] += settings["covariance_shrinkage"] * covariance[others].mean()
    deviations = np.sqrt(shrunk.diagonal())
    return np.asarray(shrunk / np.outer(deviations, deviations))


@pytest.mark.parametrize("common", [False, True])
def test_mahalanobis_distances(either: Frozen, common: bool) -> None:
    shrinkage = {"variance_shrinkage": 0.7, "covariance_shrinkage": 0.3}
    kind = "common" if common else "class"
    _, logits = either.learned("fecam", exponent=0.4, covariance=kind, **shrinkage)
    features, test_features = either.features**0.4, either.test_features**0.4
    of_class = [features[either.labels == label] for label in range(N_CLASSES)]
    covariances = [np.cov(rows, rowvar=False) for rows in of_class]
    if common:
        covariances = [np.mean(covariances, axis=0)] * N_CLASSES
    expected = [
        cdist(
            test_features,
            rows.mean(0)[None],
            "mahalanobis",
            VI=np.linalg.inv(correlations(covariance, shrinkage)),
        )
        for rows, covariance in zip(of_class, covariances, strict=True)
    ]
    np.testing.assert_allclose(-logits, np.hstack(expected) ** 2, rtol=1e-4, atol=1e-4)


def test_a_singular_covariance_is_explained(frozen: Frozen, capfd: pytest.CaptureFixture[str]) -> None:
    """With covariances far above the variances there is no inverse to measure distances with."""
    before = set(frozen.folder.rglob("*.safetensors"))
    assert frozen.learn("fecam", variance_shrinkage=0, covariance_shrinkage=1e6) is None
    message = capfd.readouterr().err
    assert "fecam.variance_shrinkage: 0.0 leaves the covariance of class" in message
    assert "raise it, or share one covariance (fecam.covariance: common)" in message
    assert "Traceback" not in message
    assert set(frozen.folder.rglob("*.safetensors")) == before


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (
            "class",
            "of class 4 is zero: .* share one covariance .fecam.covariance: common., or use more",
        ),
        ("common", "that all classes share is zero: .*; use more images per class"),
    ],
)
def test_classes_of_one_image_have_no_covariance(
    kind: str, remedy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Shrinkage cannot mend that; the other methods learn from one image."""
    single = Frozen(tmp_path, 1)
    assert single.learn("fecam", covariance=kind) is None
    message = capfd.readouterr().err
    assert re.search(f"fecam.covariance: {kind}: the covariance {remedy}", message)
    assert "Traceback" not in message
    for method in ("ncm", "acil"):
        _, logits = single.learned(method)
        assert np.isfinite(logits).all()


def test_ridge_regression(either: Frozen) -> None:
    """Task by task the weights are those of one regression over all images."""
    predictor, logits = either.learned("acil", expansion=60, ridge=0.5)
    projection = predictor.memory["projection"].double().numpy()
    ridge = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky")
    ridge.fit(np.maximum(either.features @ projection, 0), np.eye(N_CLASSES)[either.labels])
    np.testing.assert_allclose(predictor.memory["main.weights"].numpy().T, ridge.coef_, atol=1e-4)
    expected = ridge.predict(np.maximum(either.test_features @ projection, 0))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_compensation(either: Frozen) -> None:
    """The second regression learns what the first leaves of the new classes, and adds it."""
    predictor, logits = either.learned("acil", expansion=60, ridge=0.5, compensation=0.6)
    projection = predictor.memory["projection"].double().numpy()
    targets, inputs = [], []
    for old, new in [(0, 4), (4, 7), (7, 10)]:
        so_far, task_rows = either.labels < new, (either.labels >= old) & (either.labels < new)
        hidden = np.maximum(either.features @ projection, 0)
        main = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky")
        main.fit(hidden[so_far], np.eye(N_CLASSES)[either.labels[so_far]])
        left = np.eye(N_CLASSES)[either.labels[task_rows]] - main.predict(hidden[task_rows])
        left[:, :old], left[:, new:] = 0, 0
        targets.append(left)
        inputs.append(np.tanh(either.features[task_rows] @ projection))
    second = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky")
    second.fit(np.vstack(inputs), np.vstack(targets))
    expected = main.predict(np.maximum(either.test_features @ projection, 0))
    expected += 0.6 * second.predict(np.tanh(either.test_features @ projection))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_translated_features() -> None:
    """Those of an old class have its mean, and the shape of the most similar new class."""
    settings = settings_with(fetril={"batch_size": 4000})
    learner = untrained_task(settings, Fetril, job("train_fetril", 1, Path())).learner
    learner.prepared = learner.prepare()
    features, labels = learner.features_of_task()
    features = features.double()
    new = torch.stack([features[labels == label].mean(0) for label in range(4, 7)])
    drawn, asked, *_ = learner.draw_batch()
    drawn = drawn.double()
    assert torch.bincount(asked, minlength=7).min() > 400
    for label in range(7):
        mean = learner.memory["means"][label].double() if label < 4 else new[label - 4]
        source = torch.cosine_similarity(mean[None], new).argmax()
        possible = features[labels == 4 + source] - new[source] + mean
        distances = torch.cdist(drawn[asked == label], possible)
        assert distances.min(1).values.max() < 1e-4
        assert (distances < 1e-4).any(0).all()


def test_the_head_learns_from_translated_features(frozen: Frozen) -> None:
    """Old classes are not forgotten, although only their means are left."""
    optimizer = {"name": "adam", "learning_rate": 0.01, "weight_decay": 0}
    _, logits = frozen.learned("fetril", steps=300, batch_size=64, optimizer=optimizer)
    right = logits.argmax(1) == frozen.test_labels
    assert right[frozen.test_labels < N_OLD].mean() > 0.3
    assert right[frozen.test_labels >= N_OLD].mean() > 0.3
