"""Classifiers that start from torchvision's weights, which are made up here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from support.chain import CPU, Chain, settings_with, weights
from torch import nn

from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.settings import ClassifierSettings
from genifer.training.networks import new_classifier
from genifer.training.pretrained import with_weights_file


def made_up(architecture: str) -> nn.Module:
    """A network of torchvision with weights and statistics unlike those of any new network."""
    torch.manual_seed(0)
    network: nn.Module = getattr(torchvision.models, architecture)(weights=None).eval()
    for name, tensor in network.state_dict().items():
        if "running_mean" in name or name.endswith("bias"):
            tensor.normal_(std=0.1)
        elif "running_var" in name or ("bn" in name and tensor.is_floating_point()):
            tensor.uniform_(0.5, 1.5)
    return network


def written(network: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return made_up("resnet18")


@pytest.fixture(scope="module")
def resnet18_file(resnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(resnet18, tmp_path_factory.mktemp("weights") / "resnet18.pth")


def classifier(path: Path, **settings: Any) -> Classifier:
    return new_classifier(ClassifierSettings(pretrained=path, **settings), 3, 5, CPU).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("architecture", "suffix"),
    [("resnet18", ".pth"), ("resnet18", ".safetensors"), ("resnet34", ".pth"), ("resnet50", ".pth")],
)
def test_with_imagenets_stem_all_features_are_torchvisions(
    architecture: str, suffix: str, tmp_path: Path
) -> None:
    theirs = made_up(architecture)
    path = written(theirs, tmp_path / f"weights{suffix}")
    ours = classifier(path, architecture=architecture, stem="imagenet")
    images = torch.randn(2, 3, 64, 64)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    for stage, group in enumerate(("", "layer1", "layer2", "layer3", "layer4"), 1):
        x = getattr(theirs, group)(x) if group else x
        assert torch.allclose(ours.features(images, stage), x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))
        assert x.shape[1:] == (*ours.feature_shape(stage, 64), x.shape[-1])
    assert torch.allclose(
        ours.features(images, 6), x.mean((2, 3)), rtol=1e-4, atol=1e-4 * float(x.abs().max())
    )


def test_a_small_stem_stays_new(resnet18: nn.Module, resnet18_file: Path) -> None:
    torch.manual_seed(1)
    new = Classifier("resnet18", 64, 3, 5)
    torch.manual_seed(1)
    ours = classifier(resnet18_file)
    assert all(map(torch.equal, ours.stages[0].state_dict().values(), new.stages[0].state_dict().values()))
    assert ours.head.weight.equal(new.head.weight)
    for stage in range(1, 5):
        theirs = getattr(resnet18, f"layer{stage}").state_dict()
        taken = {
            name.replace("shortcut", "downsample"): t for name, t in ours.stages[stage].state_dict().items()
        }
        assert set(taken) == set(theirs)
        assert all(taken[name].equal(theirs[name]) for name in theirs)


def test_the_first_stages_alone(resnet18: nn.Module, resnet18_file: Path) -> None:
    ours = classifier(resnet18_file, pretrained_stages=3)
    assert ours.stages[2][1].conv2.weight.equal(resnet18.layer2[1].conv2.weight)
    assert not ours.stages[3][1].conv2.weight.equal(resnet18.layer3[1].conv2.weight)


def test_weights_without_counters(resnet18: nn.Module, tmp_path: Path) -> None:
    state = {name: t for name, t in resnet18.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(state, tmp_path / "old.pth")
    ours = classifier(tmp_path / "old.pth")
    assert ours.stages[1][0].conv1.weight.equal(resnet18.layer1[0].conv1.weight)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("deeper", r"of classifier\.architecture: resnet18 \(the weight called stages\.1\.2"),
        ("narrow", r"the weight called stages\..*classifier\.width: 64"),
        ("no weights", "not a mapping from names to tensors"),
        ("other names", r"the weight called stages\.0"),
        ("truncated", "not a readable file of weights"),
        ("code", "not a readable file of weights"),
        ("missing", "does not exist.*imagenet"),
        ("missing.safetensors", "does not exist"),
        ("damaged.safetensors", "not a readable file of weights"),
    ],
)
def test_files_that_do_not_fit(damage: str, words: str, resnet18_file: Path, tmp_path: Path) -> None:
    path = tmp_path / f"weights{Path(damage).suffix or '.pth'}"
    match damage:
        case "deeper":
            written(torchvision.models.resnet34(weights=None), path)
        case "narrow":
            path.write_bytes(resnet18_file.read_bytes())
        case "no weights":
            torch.save({"epoch": 3}, path)
        case "other names":
            torch.save({"a": torch.zeros(2)}, path)
        case "truncated":
            path.write_bytes(resnet18_file.read_bytes()[:100_000])
        case "code":
            torch.save({"a": Evil(tmp_path / "evil")}, path)
        case "damaged.safetensors":
            path.write_bytes(b"no weights")
    with pytest.raises(GeniferError, match=rf"classifier\.pretrained: .*weights\S* .*{words}"):
        classifier(path, **({"width": 32} if damage == "narrow" else {}))
    assert not (tmp_path / "evil").exists()


def test_grey_images_do_not_fit_imagenets_stem(resnet18_file: Path) -> None:
    network = ClassifierSettings(pretrained=resnet18_file, stem="imagenet")
    with pytest.raises(GeniferError, match=r"the weight called stages\.0\.0\.weight.*data\.channels: 3"):
        new_classifier(network, 1, 5, CPU)


def test_checkpoints_with_another_stem_are_refused(chain: Chain) -> None:
    with pytest.raises(GeniferError, match=r"classifier\.pretrained: .*use its .*classifier\.stem"):
        new_classifier(ClassifierSettings(pretrained=chain.classifier, width=4, stem="imagenet"), 1, 4, CPU)


def test_the_training_of_the_first_task_starts_from_them(
    resnet18: nn.Module, resnet18_file: Path, chain: Chain, tmp_path: Path
) -> None:
    settings = settings_with(
        classifier={"width": 64, "pretrained": str(resnet18_file)},
        pretrain_classifier={"steps": 1, "batch_size": 2, "optimizer": {"learning_rate": 1e-9}},
        data={"channels": 3},
    )
    after = weights(chain.pretrain_classifier(settings, tmp_path))
    assert torch.allclose(after["stages.4.1.conv2.weight"], resnet18.layer4[1].conv2.weight)


def test_a_file_in_place_of_the_name(resnet18_file: Path) -> None:
    named = ClassifierSettings(pretrained=Path("imagenet"))
    assert with_weights_file(named, resnet18_file).pretrained == resnet18_file
    with pytest.raises(GeniferError, match=r"genifer download-weights resnet18 --output FILE.*--pretrained"):
        with_weights_file(named, None)
    own = ClassifierSettings(pretrained=resnet18_file)
    assert with_weights_file(own, None) == own
    assert with_weights_file(ClassifierSettings(), resnet18_file).pretrained is None
