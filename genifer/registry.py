"""The registry of methods and data sets: those of this package and those of plugins.

Everything that depends on them (settings, commands, rules, tables, colours, estimates) uses the registry.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

import genifer.data.sets
import genifer.methods
from genifer.data.dataset import Dataset
from genifer.errors import GeniferError
from genifer.methods.method import Method
from genifer.plugins import Found, classes_in_file, classes_of_packages
from genifer.settings import MethodSettings

NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = frozenset({"classifier", "data", "gan", "shared"})
"""Names that commands and folders already use; the names of a run file's blocks are reserved too."""

Kind = TypeVar("Kind", bound=type[Any])


@dataclass(frozen=True)
class Registry:
    """Methods and data sets by name."""

    methods: Mapping[str, type[Method]]
    datasets: Mapping[str, type[Dataset]]

    def method(self, name: str) -> type[Method]:
        """Return the method of a name.

        Raises:
            GeniferError: there is none.
        """
        if name not in self.methods:
            raise GeniferError(f"method '{name}' is not known; {self.hint(self.methods)}")
        return self.methods[name]

    def dataset(self, name: str) -> type[Dataset]:
        """Return the data set of a name.

        Raises:
            GeniferError: there is none.
        """
        if name not in self.datasets:
            raise GeniferError(f"data.dataset: '{name}' is not known; {self.hint(self.datasets)}")
        return self.datasets[name]

    def listing(self) -> str:
        """Return a list of all methods and data sets for people, one per line."""
        lines = ["methods:", *(f"  {name:14} {cls.summary()}" for name, cls in self.methods.items())]
        lines += ["data sets:", *(f"  {name:14} {_described(cls)}" for name, cls in self.datasets.items())]
        return "\n".join(lines)

    @staticmethod
    def hint(known: Mapping[str, object]) -> str:
        return (
            f"there are: {', '.join(known)}. To use one of your own, add its file to 'plugins' in the run "
            "file, or install its package"
        )


def _described(dataset: type[Dataset]) -> str:
    count = f"{dataset.classes} classes" if dataset.classes is not None else "any number of classes"
    return f"{dataset.summary()} ({count}, {'grey' if dataset.channels == 1 else 'RGB'})"


@cache
def registry(plugins: tuple[Path, ...] = (), reserved: frozenset[str] = RESERVED) -> Registry:
    """Return the methods and data sets of this package, of installed packages, and of plugin files.

    Args:
        plugins: paths of Python files.
        reserved: names that no method may have.

    Raises:
        GeniferError: a plugin cannot be imported, does not follow the contract, or uses an existing name.
    """
    methods: dict[str, Found] = {}
    datasets: dict[str, Found] = {}
    for found in _all(plugins):
        if issubclass(found.cls, Method):
            _check_method(found, reserved)
            _add(methods, found, "method")
        else:
            _check_dataset(found)
            _add(datasets, found, "data set")
        found.cls.source_hash = found.source_hash
    return Registry(
        {name: found.cls for name, found in methods.items()},
        {name: found.cls for name, found in datasets.items()},
    )


def _all(plugins: tuple[Path, ...]) -> Iterator[Found]:
    for package, base in ((genifer.methods, Method), (genifer.data.sets, Dataset)):
        for module_info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{module_info.name}")
            for value in vars(module).values():
                own = isinstance(value, type) and value.__module__ == module.__name__
                if own and issubclass(value, base) and "name" in vars(value):
                    yield Found(value, "part of genifer", None)
    yield from classes_of_packages("genifer.methods")
    yield from classes_of_packages("genifer.datasets")
    for path in plugins:
        yield from classes_in_file(path, (Method, Dataset))


def _add(known: dict[str, Found], found: Found, kind: str) -> None:
    name = found.cls.name
    if name in known:
        raise GeniferError(
            f"{found.source}: {found.cls.__name__} has the name '{name}' of another {kind} "
            f"({known[name].source}); give it another name"
        )
    known[name] = found


def _check_name(found: Found, reserved: frozenset[str]) -> None:
    name = getattr(found.cls, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise GeniferError(
            f"{found.source}: {found.cls.__name__}.name is {name!r}; it must be a text of lower-case "
            'letters, digits and underscores that begins with a letter, for example name = "my_method"'
        )
    if name in reserved:
        raise GeniferError(
            f"{found.source}: {found.cls.__name__} has the name '{name}', which is reserved; give it "
            "another name"
        )
    version = found.cls.version
    if not isinstance(version, int):
        raise GeniferError(
            f"{found.source}: {found.cls.__name__}.version is {version!r}; it must be an integer"
        )


BASES: tuple[type[BaseModel], ...] = get_args(MethodSettings)
"""Base classes of a method's settings."""


def _check_choice(found: Found, attribute: str, allowed: tuple[str, ...]) -> None:
    value = getattr(found.cls, attribute)
    if value not in allowed:
        raise GeniferError(
            f"{found.source}: {found.cls.__name__}.{attribute} is {value!r}; allowed: {', '.join(allowed)}"
        )


def _check_method(found: Found, reserved: frozenset[str]) -> None:
    _check_name(found, reserved)
    _check_choice(found, "images", ("task", "so_far"))
    _check_choice(found, "first_task", ("shared", "memory", "own"))
    settings = found.cls.Settings
    where = f"{found.source}: {found.cls.__name__}.Settings"
    if not (isinstance(settings, type) and issubclass(settings, BASES)):
        raise GeniferError(
            f"{where} must be a class derived from genifer.methods.TrainingSettings, from HeadSettings for a "
            "method that trains the head on features, or from FrozenSettings for one that trains nothing"
        )
    base = next(base for base in BASES if issubclass(settings, base))
    for name, field in base.model_fields.items():
        own = settings.model_fields[name]
        if own.annotation != field.annotation and name != "steps":
            raise GeniferError(
                f"{where}.{name} conflicts with the setting of that name that every training has; "
                "give it another name"
            )
    try:
        settings()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise GeniferError(
            f"{where}: its defaults are not valid: {'.'.join(map(str, problem['loc']))}: {problem['msg']}; "
            "every setting needs a valid default"
        ) from None


def _check_dataset(found: Found) -> None:
    _check_name(found, frozenset())
    _check_choice(found, "archive", ("none", "required", "download"))
    if found.cls.archive == "download" and not found.cls.url:
        raise GeniferError(f"{found.source}: {found.cls.__name__} is downloaded, but has no url; add one")
    if "load" not in {name for base in found.cls.__mro__[:-2] for name in vars(base) if base is not Dataset}:
        raise GeniferError(f"{found.source}: {found.cls.__name__} does not define load(archive, settings)")
