"""Plugins: Python files and installed packages that add methods and data sets."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from genifer.errors import GeniferError

log = logging.getLogger(__name__)

HASH_LENGTH = 12


@dataclass(frozen=True)
class Found:
    """A class that was found in a plugin or in this package.

    Attributes:
        source: where it comes from, for messages.
        source_hash: hash of the file that defines it; None for a class of this package.
    """

    cls: type[Any]
    source: str
    source_hash: str | None


def classes_in_file(path: Path, bases: tuple[type[Any], ...]) -> list[Found]:
    """Import a Python file and return the classes in it that derive from these bases.

    Raises:
        GeniferError: the file does not exist, cannot be imported, or defines none.
    """
    try:
        source_hash = hash_of(path)
    except OSError as error:
        raise GeniferError(
            f"plugins: {path} cannot be read ({error.strerror}); give the path of a Python file, relative to "
            f"{Path.cwd()}"
        ) from error
    module = _import_file(path, source_hash)
    found = [Found(cls, str(path), source_hash) for cls in _defined_in(module, bases)]
    if not found:
        wanted = " or ".join(f"{base.__module__.rpartition('.')[0]}.{base.__name__}" for base in bases)
        raise GeniferError(f"plugins: {path} defines no method or data set; derive a class from {wanted}")
    return found


def classes_of_packages(group: str) -> Iterator[Found]:
    """Yield the classes that installed packages declare as entry points of a group.

    A class that cannot be loaded is skipped with a warning, so that a broken package does not stop runs that
    do not use it.
    """
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else entry.value
        try:
            cls = entry.load()
            source = Path(str(sys.modules[cls.__module__].__file__))
            yield Found(cls, f"package {package} ({entry.value})", hash_of(source))
        except Exception as error:
            log.warning(
                "package %s: skipped its entry point %s of %s: %s", package, entry.value, group, error
            )


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_LENGTH]


def _import_file(path: Path, source_hash: str) -> ModuleType:
    name = f"genifer_plugin_{path.stem}_{source_hash}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise GeniferError(f"plugins: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise GeniferError(
            f"plugins: {path} cannot be imported: {type(error).__name__}: {error}{_line_in(path, error)}; "
            "fix it, or remove it from the list"
        ) from error
    return module


def _line_in(path: Path, error: BaseException) -> str:
    """Return where in the file an error was raised, for messages."""
    if isinstance(error, SyntaxError):
        return ""  # its text names the line already
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.resolve()
    ]
    return f" (line {lines[-1]})" if lines else ""


def _defined_in(module: ModuleType, bases: tuple[type[Any], ...]) -> list[type[Any]]:
    """Return the classes that a module itself defines, except unnamed ones that others in it extend."""
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, bases) and value.__module__ == module.__name__
    ]
    return [
        cls
        for cls in own
        if "name" in vars(cls) or not any(other is not cls and issubclass(other, cls) for other in own)
    ]
