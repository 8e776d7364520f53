"""A grid: several runs in one Snakemake invocation, one for each combination of values of its axes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from genifer.config import LABEL, RunSettings, merged
from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.layout.names import COMPARISON, GRIDS
from genifer.refused_settings import explain
from genifer.run_file import parse_settings, read_yaml
from genifer.settings import Settings

Part = str | dict[str, Any]
"""A run file, or settings as a run file states them."""


class GridSettings(Settings):
    """The keys of a grid file, besides settings that apply to every run."""

    grid: Annotated[str, Field(pattern=f"^{LABEL.pattern}$")] = Field(
        description="name of the grid; the names of its runs begin with it"
    )
    axes: Annotated[dict[str, dict[str, Part | list[Part]]], Field(min_length=1)] = Field(
        description="values of each axis: a label for each, with a run file, settings, or a list of both"
    )
    reference: str = Field("genifer", description="method that the others are compared with")

    @field_validator("axes")
    @classmethod
    def _labels_name_folders(cls, axes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for axis, values in axes.items():
            if not values:
                raise ValueError(f"has no values for '{axis}'; give at least one label with its settings")
            for label in values:
                if not LABEL.fullmatch(label):
                    raise ValueError(
                        f"has the label '{label}' in '{axis}', which names folders; allowed are letters, "
                        "digits, '_', '-' and '.', beginning with a letter or digit"
                    )
        return axes


@dataclass(frozen=True)
class Grid:
    """A grid, read and checked.

    Attributes:
        runs: for each run's name, its settings as a run file would state them.
        layouts: for each run's name, its layout.
        reference: label of the method that the others are compared with.
    """

    name: str
    runs: Mapping[str, Mapping[str, Any]]
    layouts: Mapping[str, Layout]
    reference: str

    @property
    def comparison(self) -> list[str]:
        """Files of the comparison of all runs."""
        return [f"{GRIDS}/{self.name}/{name}" for name in COMPARISON]

    @property
    def compared(self) -> list[str]:
        """Tables that the comparison reads."""
        names = ("accuracy", "confusion", "settings", "summary", "budget")
        return [layout.table(name) for layout in self.layouts.values() for name in names]

    @property
    def results(self) -> list[str]:
        """Folders of the runs."""
        return [layout.results for layout in self.layouts.values()]

    def shares_download(self, run: str) -> bool:
        """Return whether an earlier run downloads the same archive, so that one rule is enough."""
        names = list(self.layouts)
        earlier = [self.layouts[name].downloaded for name in names[: names.index(run)]]
        return bool(self.layouts[run].downloaded) and self.layouts[run].downloaded in earlier


def load_runs(*paths: Path) -> dict[str, RunSettings]:
    """Read a run file, or the runs of a grid file.

    Args:
        paths: of several files, later ones override earlier ones, as on Snakemake's command line.

    Returns:
        Settings by the prefix of the run's rules: an empty text, or the run's name in a grid.

    Raises:
        GeniferError: the file cannot be read, or a setting is not allowed.
    """
    content, source = reduce(_over, map(read_yaml, paths)), ", ".join(map(str, paths))
    if "axes" not in content:
        return {"": parse_settings(content, source)}
    return {f"{name}_": each.settings for name, each in parse_grid(content, source).layouts.items()}


def parse_grid(content: Mapping[str, Any], source: str) -> Grid:
    """Check a grid and combine its axes.

    Later axes override earlier ones, and the grid file's other settings override all axes.

    Args:
        content: content of a grid file.
        source: path of the file, for messages.

    Raises:
        GeniferError: a setting of the grid or of one of its runs is not allowed, a run file cannot be read,
            or two runs would have one name.
    """
    try:
        own = {name: content[name] for name in GridSettings.model_fields if name in content}
        settings = GridSettings.model_validate(own)
    except ValidationError as error:
        raise GeniferError(
            f"{explain(error, source, GridSettings)}\nconfig/grid.yaml is an example of a grid file; for a "
            "single run, omit --snakefile workflow/grid.smk"
        ) from None
    every = {name: value for name, value in content.items() if name not in GridSettings.model_fields}
    runs: dict[str, dict[str, Any]] = {}
    for combination in itertools.product(*(values.items() for values in settings.axes.values())):
        name = "-".join([settings.grid, *(label for label, _ in combination)])
        if name in runs:
            raise GeniferError(f"{source}: axes: two runs would be called {name}; rename a label")
        of_run: dict[str, Any] = {}
        for parts in (*(parts for _, parts in combination), every):
            for part in parts if isinstance(parts, list) else [parts]:
                of_run = _over(of_run, read_yaml(Path(part)) if isinstance(part, str) else part)
        runs[name] = of_run | {"run": name}
    layouts = {name: Layout(parse_settings(of_run, f"{source}: {name}")) for name, of_run in runs.items()}
    _check_reference(settings.reference, [layout.settings for layout in layouts.values()], source)
    return Grid(settings.grid, runs, layouts, settings.reference)


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Override a base by changes, as Snakemake merges run files, including variants in ``methods``."""
    result = merged(base, changes)
    before, after = base.get("methods"), changes.get("methods")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        result["methods"] = merged(before, after)
    return result


def _check_reference(reference: str, runs: list[RunSettings], source: str) -> None:
    labels = dict.fromkeys(label for run in runs for label in run.stated_variants())
    if reference not in labels:
        raise GeniferError(
            f"{source}: reference: '{reference}' is not a method of any run; there are: {', '.join(labels)}"
        )
