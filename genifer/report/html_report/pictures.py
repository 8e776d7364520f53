"""Plots as data URIs, so that the report is a single file."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

PIXELS_PER_POINT = 96 / 72
"""Pixels per inch in CSS."""

SIZE = re.compile(rb'<svg[^>]*?\bwidth="([\d.]+)pt"[^>]*?\bheight="([\d.]+)pt"')

HEADER_LENGTH = 4096

SUFFIXES = ("svg", "png", "pdf")


@dataclass(frozen=True)
class Embedded:
    """A plot embedded in a page.

    Attributes:
        uri: its content as a data URI.
        width, height: size in CSS pixels.
        files: suffix and relative path of each of its files.
    """

    uri: str
    width: int
    height: int
    files: tuple[tuple[str, str], ...]


def embed(folder: Path, name: str, dpi: int, page: Path) -> Embedded | None:
    """Read a plot as SVG or PNG, whichever is smaller.

    Args:
        folder: folder of the plot's files.
        name: name of the files, without suffix.
        dpi: resolution of PNG files.
        page: folder of the page that shows the plot.

    Returns:
        None if the plot does not exist.
    """
    files = [path for suffix in SUFFIXES if (path := folder / f"{name}.{suffix}").is_file()]
    shown = [path for path in files if path.suffix != ".pdf"]
    if not shown:
        return None
    smallest = min(shown, key=lambda path: path.stat().st_size)
    content = smallest.read_bytes()
    if smallest.suffix == ".svg":
        kind, size = "svg+xml", _size_of_svg(content)
    else:
        kind, size = "png", _size_of_png(smallest, dpi)
    links = tuple((path.suffix.removeprefix(".").upper(), link(path, page)) for path in files)
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", *size, links)


def link(path: Path, page: Path) -> str:
    """Return a link to a file, relative to the folder of a page."""
    return quote(Path(os.path.relpath(path, page)).as_posix())


def _size_of_svg(content: bytes) -> tuple[int, int]:
    size = SIZE.search(content[:HEADER_LENGTH])
    width, height = (float(points) for points in size.groups()) if size else (540.0, 360.0)
    return round(PIXELS_PER_POINT * width), round(PIXELS_PER_POINT * height)


def _size_of_png(path: Path, dpi: int) -> tuple[int, int]:
    with Image.open(path) as image:
        width, height = image.size
    return round(96 * width / dpi), round(96 * height / dpi)
