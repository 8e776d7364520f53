"""Weights of torchvision's ResNets: their URLs, and their names in this project; needs no PyTorch."""

from __future__ import annotations

WIDTH, CHANNELS = 64, 3
"""Channels after torchvision's stem, and of its images."""

SUFFIXES = (".pth", ".pt")
"""Suffixes of files that cannot be checkpoints of this project."""

URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
"""URLs of weights trained on ImageNet: torchvision's IMAGENET1K_V1."""

GROUPS = {f"layer{stage}": f"stages.{stage}" for stage in range(1, 5)}
STEM = {"conv1": "stages.0.0", "bn1": "stages.0.1"}


def file_name(architecture: str) -> str:
    """Return the file name of an architecture's weights."""
    return URLS[architecture].rpartition("/")[2]


def sha256_start(architecture: str) -> str:
    """Return the first digits of the file's SHA-256, which are part of its name."""
    return file_name(architecture).partition("-")[2].partition(".")[0]


def own_name(name: str) -> str:
    """Return the name in `Classifier` of a torchvision weight; the head keeps torchvision's name, ``fc``."""
    first, _, rest = name.partition(".")
    own = (GROUPS | STEM).get(first, first)
    return f"{own}.{rest.replace('downsample', 'shortcut')}"
