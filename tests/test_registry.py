"""Plugins: what a file brings, and what is refused before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from support.commands import ROOT, write_run_file

import genifer.plugins
from genifer.config import registry_of
from genifer.errors import GeniferError
from genifer.registry import registry
from genifer.run_file import load_settings, parse_settings
from genifer.versions import job_settings

METHOD = """
from genifer.methods import Method, TrainingSettings

class Mine(Method):
    \"\"\"A method of my own.\"\"\"
    name = "mine"
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, name: str = "my_method.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_plugin_is_like_any_method(plugin: Callable[[str], Path], tmp_path: Path) -> None:
    path = plugin(METHOD)
    run_file = write_run_file(tmp_path, plugins=[str(path)], methods=["mine"], mine={"steps": 5})
    (variant,) = load_settings(run_file).variants
    assert (variant.label, variant.method.summary(), variant.block.steps) == (
        "mine",
        "A method of my own.",
        5,
    )
    with pytest.raises(GeniferError, match=r"mine.stepz does not exist"):
        load_settings(write_run_file(tmp_path, plugins=[str(path)], mine={"stepz": 5}))
    with pytest.raises(GeniferError, match=r"mine does not exist"):
        load_settings(write_run_file(tmp_path, mine={"steps": 5}))


def test_an_edit_changes_the_version_of_that_method_alone(plugin: Callable[[str], Path]) -> None:
    def versions(path: Path) -> tuple[object, object]:
        run = parse_settings({"plugins": [str(path)], "methods": ["mine", "finetune"]}, "test")
        return tuple(job_settings(run, job)["version"] for job in ("train_mine", "train_finetune"))

    before = versions(plugin(METHOD))
    registry.cache_clear()
    after = versions(plugin(METHOD + "# An edit.\n"))
    assert str(before[0]).startswith("1+")
    assert before[0] != after[0]
    assert before[1] == after[1] == 3


def test_moving_a_plugin_changes_nothing(plugin: Callable[..., Path]) -> None:
    first, second = (registry_of([plugin(METHOD, name)]).methods["mine"] for name in ("a.py", "b.py"))
    assert first.version_text() == second.version_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_package\n", ["cannot be imported", "no_such_package", "line 1"]),
        ("x = 1\n\nraise SystemExit\n", ["cannot be imported", "SystemExit"]),
        ("def f(:\n", ["cannot be imported", "SyntaxError"]),
        ("x = 1\n", ["defines no method or data set", "genifer.methods"]),
        (METHOD.replace('"mine"', '"joint"'), ["'joint'", "another method", "part of genifer"]),
        (METHOD.replace('"mine"', '"gan"'), ["'gan'", "is reserved"]),
        (METHOD.replace('"mine"', '"runtime"'), ["'runtime'", "is reserved"]),
        (METHOD.replace('"mine"', '"My Method"'), ["Mine.name", "My Method", "lower-case"]),
        (METHOD.replace('    name = "mine"\n', ""), ["Mine.name is None"]),
        (METHOD + '    images = "all"\n', ["Mine.images", "'all'", "task, so_far"]),
        (METHOD + '    first_task = "mine"\n', ["Mine.first_task", "shared, memory, own"]),
        (METHOD + '    version = "2"\n', ["Mine.version", "integer"]),
        (METHOD + "    Settings = dict\n", ["Mine.Settings", "TrainingSettings"]),
        (
            METHOD + "    class Settings(TrainingSettings):\n        strength: float\n",
            ["Mine.Settings", "strength", "default"],
        ),
        (
            METHOD + "    class Settings(TrainingSettings):\n        batch_size: str = 'many'\n",
            ["Mine.Settings.batch_size", "conflicts"],
        ),
        (METHOD + METHOD.replace("Mine", "Yours"), ["'mine'", "another method"]),
        (
            "from genifer.data import Dataset\n\nclass Birds(Dataset):\n    name = 'birds'\n",
            ["Birds", "load(archive, settings)"],
        ),
    ],
)
def test_a_broken_plugin_is_one_message(plugin: Callable[[str], Path], text: str, words: list[str]) -> None:
    path = plugin(text)
    with pytest.raises(GeniferError) as refusal:
        parse_settings({"plugins": [str(path)]}, "run.yaml")
    assert str(path) in str(refusal.value)
    assert [word for word in words if word not in str(refusal.value)] == [], refusal.value


@pytest.mark.parametrize(("name", "words"), [("gone.py", ["gone.py", "cannot be read"]), ("my.txt", [".py"])])
def test_a_plugin_that_is_no_python_file(tmp_path: Path, name: str, words: list[str]) -> None:
    (tmp_path / "my.txt").write_text(METHOD)
    with pytest.raises(GeniferError) as refusal:
        parse_settings({"plugins": [str(tmp_path / name)]}, "run.yaml")
    assert [word for word in words if word not in str(refusal.value)] == [], refusal.value


def test_methods_and_data_sets_come_from_installed_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "installed_methods.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    entries = [EntryPoint("mine", "installed_methods:Mine", "genifer.methods")]
    broken = EntryPoint("broken", "no_such_module:Mine", "genifer.methods")
    monkeypatch.setattr(
        genifer.plugins,
        "entry_points",
        lambda group: [*entries, broken] if group == "genifer.methods" else [],
    )
    registry.cache_clear()
    try:
        known = registry_of([])
        assert known.methods["mine"].version_text() != 1
        assert "finetune" in known.methods
    finally:
        registry.cache_clear()


def test_each_built_in_method_is_one_file() -> None:
    """Other files of the folder hold what several methods share."""
    methods = registry_of([]).methods.values()
    modules = {cls.__module__ for cls in methods}
    assert len(modules) == len(methods)
    assert all(module.startswith("genifer.methods.") for module in modules)


def test_nothing_else_knows_a_method_or_data_set_by_its_name() -> None:
    known = registry_of([])
    names = [f'"{name}"' for name in (*known.methods, *known.datasets)]
    allowed = {"methods", "sets", "compat"}
    found = [
        (str(path.relative_to(ROOT)), name)
        for folder in ("genifer", "workflow")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".smk", "") and path.is_file() and path.parent.name not in allowed
        for name in names
        if name in path.read_text()
    ]
    # What a training may use of old images: none, all or exemplars.
    found.remove(("genifer/report/phrases.py", '"exemplars"'))
    # The defaults of a run file, and the name of the package.
    assert [entry for entry in found if entry[1] not in ('"genifer"', '"cifar100"')] == []
