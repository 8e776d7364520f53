"""Weights of torchvision's ResNets: where those of ImageNet are, and what they are called here.

It needs no PyTorch.
"""

from __future__ import annotations

WIDTH, CHANNELS = 64, 3
"""Channels after torchvision's stem, and of the images."""

SUFFIXES = (".pth", ".pt")
"""Files that cannot be checkpoints of this project."""

URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
"""Trained on ImageNet: torchvision's IMAGENET1K_V1."""

GROUPS = {f"layer{stage}": f"stages.{stage}" for stage in range(1, 5)}
STEM = {"conv1": "stages.0.0", "bn1": "stages.0.1"}


def file_name(architecture: str) -> str:
    """The name of the file of an architecture's weights."""
    return URLS[architecture].rpartition("/")[2]


def sha256_start(architecture: str) -> str:
    """The first digits of its SHA-256, which torchvision puts into the name."""
    return file_name(architecture).partition("-")[2].partition(".")[0]


def own_name(name: str) -> str:
    """The name that a weight of torchvision has in `Classifier`; the head keeps torchvision's, ``fc``."""
    first, _, rest = name.partition(".")
    own = (GROUPS | STEM).get(first, first)
    return f"{own}.{rest.replace('downsample', 'shortcut')}"
