"""Checks of image arrays, and their conversion to the channels and size of a run."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from genifer.data.dataset import Arrays
from genifer.data.new_images import new_images, pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genifer.data.dataset import Images


def check_arrays(arrays: object) -> Arrays:
    """Return what a data set's ``load`` returned, if it fits the description of `Arrays`.

    Raises:
        ValueError: it does not fit; the message says what ``load`` returned and what it must return.
    """
    if not isinstance(arrays, Arrays):
        raise ValueError(f"load returned a {type(arrays).__name__}; it must return genifer.data.Arrays")
    names = _class_names(arrays)
    for split in ("train", "test"):
        images, labels = getattr(arrays, f"{split}_images"), getattr(arrays, f"{split}_labels")
        _check_images(f"{split}_images", images)
        _check_labels(f"{split}_labels", labels, len(images), len(names))
    return arrays


def _class_names(arrays: Arrays) -> list[str]:
    given: object = arrays.class_names
    names = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"load returned the class names {reprlib.repr(given)}; it must return a list with one text per "
            "class, all different"
        )
    return names


def _check_images(name: str, images: Any) -> None:
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4:
        n, channels, height, width = images.shape
        if n > 0 and channels in (1, 3) and height == width > 0:
            return
    raise ValueError(
        f"load returned {name} as {_described(images)}; it must be an array of uint8 with the shape "
        "(n, channels, size, size): n square images with 1 or 3 channels"
    )


def _check_labels(name: str, labels: Any, n: int, n_classes: int) -> None:
    is_integers = isinstance(labels, np.ndarray) and np.issubdtype(labels.dtype, np.integer)
    if not is_integers or labels.shape != (n,):
        raise ValueError(
            f"load returned {name} as {_described(labels)}; it must be an array of integers with the shape "
            f"({n},), one label per image"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"load returned {name} from {low} to {high}; with {n_classes} class names, labels must be 0 to "
            f"{n_classes - 1}"
        )


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with the shape {value.shape}"
    return f"a {type(value).__name__}"


def to_channels(images: Images, channels: int) -> Images:
    """Convert grey to RGB by repetition, and RGB to grey by luma (ITU-R BT.601).

    Args:
        images: (n, 1 or 3, size, size).
        channels: 1 or 3.

    Returns:
        (n, channels, size, size).
    """
    if images.shape[1] == channels:
        return images
    converted = new_images((len(images), channels, *images.shape[2:]))
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    for piece in pieces(images):
        if channels == 3:
            converted[piece] = images[piece]
        else:
            grey: NDArray[np.float32] = np.einsum("nchw,c->nhw", images[piece], weights)
            converted[piece] = np.rint(grey)[:, None]
    return converted


def to_size(images: Images, size: int) -> Images:
    """Resize images by bilinear interpolation, with antialiasing if they shrink.

    Args:
        images: (n, channels, height, width).
        size: height and width of the result, in pixels.

    Returns:
        (n, channels, size, size).
    """
    if images.shape[-1] == size:
        return images
    import torch  # not at the top: the check before a run does not need it, and the import takes a second

    converted = new_images((*images.shape[:2], size, size))
    for piece in pieces(images):
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(images[piece]).float(),
            (size, size),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )
        converted[piece] = resized.round_().clamp_(0, 255).to(torch.uint8).numpy()
    return converted
