"""The content of the report: plots and tables in sections, with methods in the order of the run file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from markupsafe import Markup

from genifer.evaluation.tables import read_table
from genifer.layout import Layout, Picture, plots_folder
from genifer.report.html_report.pictures import Embedded, embed, link
from genifer.report.html_report.texts import Texts
from genifer.report.pages import PAGES

FIRST = "accuracy"
"""The plot at the top of the report."""

SECTIONS = {
    "Accuracy": "Results",
    "Replay": "Replay",
    "Sample grids": "Replay",
    "Forgetting": "Forgetting",
    "Training": "Training",
}
"""Section heading of each category, in order; other categories follow."""

LAST_SECTIONS = {"Run": "Costs"}

TITLES = {
    "accuracy": "Accuracy as classes are learned",
    "budget": "Accuracy against cost",
    "published": "Comparison with published figures",
    "accuracy_matrix": "Accuracy on each task after each task",
    "confusion": "Confusion after the last task",
    "replay_agreement": "Agreement of the classifier with the requested class",
    "replay_frechet": "Distance of replay to real images",
    "replay": "Sample grids",
    "nearest": "Replay nearest to training images",
    "forgetting": "Forgetting of each task",
    "forgotten_classes": "Most forgotten classes",
    "gan_training": "Health of the GAN trainings",
    "training_gan": "GAN trainings",
    "training": "All scalars of trainings",
    "costs": "Time by method and job",
    "table_summary": "All metrics",
    "table_accuracy": "Accuracy after each task",
    "table_replay": "Replay of each class",
    "table_forgotten_classes": "All classes",
    "table_costs": "Time and memory",
}
"""Heading of each caption; by default the plot's name."""

EMPTY = Markup()

ALL = "all"
"""Label of plots of all methods, or of all GANs."""

FOLDED = ("training", "table_replay", "table_forgotten_classes")
"""Captions of long, seldom read content, which is folded at the end of its section."""


@dataclass(frozen=True)
class Plot:
    """A plot, with what distinguishes it from the others under its heading.

    Attributes:
        caption: empty if all plots under a heading have the same one.
        is_first: whether it shows the first seed, or all seeds.
    """

    label: str
    picture: Embedded
    caption: Markup = EMPTY
    is_first: bool = True


@dataclass(frozen=True)
class Exhibit:
    """Plots of one kind, or a table, under one heading.

    Attributes:
        table: HTML of a table; empty for plots.
        files: suffix and relative path of a table's files.
    """

    title: str
    anchor: str
    caption: Markup = EMPTY
    plots: Sequence[Plot] = ()
    table: Markup = EMPTY
    files: Sequence[tuple[str, str]] = ()
    folded: bool = False

    @property
    def width(self) -> int:
        """Width of the widest plot in CSS pixels."""
        return max((plot.picture.width for plot in self.plots), default=0)

    @property
    def shown(self) -> list[Plot]:
        """Plots that are not folded."""
        return [plot for plot in self.plots if plot.is_first]

    @property
    def more(self) -> list[Plot]:
        """Plots of further seeds, which are folded."""
        return [plot for plot in self.plots if not plot.is_first]


@dataclass(frozen=True)
class Section:
    title: str
    anchor: str
    exhibits: Sequence[Exhibit]


@dataclass
class Shown:
    """The content of a run's report.

    Attributes:
        opening: the plot at the top; None if it is missing.
        missing: files of the run that do not exist.
    """

    opening: Exhibit | None = None
    sections: list[Section] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def collect(layout: Layout, texts: Texts, page: Path) -> Shown:
    """Read the plots and tables of a run, as far as they exist.

    Args:
        page: folder of the report, to which links are relative.

    Raises:
        GeniferError: a table is missing or damaged.
    """
    shown = Shown(missing=[path for path in layout.final if not Path(path).is_file()])
    by_category: dict[str, list[Exhibit]] = {}
    for caption, kind in _by_caption(layout):
        exhibit = _plots(layout, texts, page, caption, kind)
        if exhibit is not None and caption == FIRST:
            shown.opening = exhibit
        elif exhibit is not None:
            by_category.setdefault(kind[0][0].category, []).append(exhibit)
    for table in [table for table in layout.pages if _source(layout, table).is_file()]:
        by_category.setdefault(table.category, []).append(_table(layout, texts, page, table))
    others = {name: name for name in by_category if name not in SECTIONS | LAST_SECTIONS}
    by_title: dict[str, list[Exhibit]] = {}
    for category, title in (SECTIONS | others | LAST_SECTIONS).items():
        by_title.setdefault(title, []).extend(by_category.get(category, []))
    shown.sections = [
        Section(title, anchor(title), sorted(exhibits, key=_rank))
        for title, exhibits in by_title.items()
        if exhibits
    ]
    return shown


def anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _rank(exhibit: Exhibit) -> int:
    """Return the sort key: metrics, plots of all methods, plots of each method, folded content."""
    if exhibit.folded:
        return 3
    if exhibit.anchor == anchor(TITLES["table_summary"]):
        return 0
    return 1 if len(exhibit.plots) < 2 else 2


Wildcards = dict[str, str]


def _by_caption(layout: Layout) -> Iterator[tuple[str, list[tuple[Picture, Wildcards]]]]:
    """Yield the plots of each caption, each with the wildcards that the caption needs."""
    kinds: dict[str, list[tuple[Picture, Wildcards]]] = {}
    for figure in layout.figures:
        for picture in figure.pictures:
            kinds.setdefault(picture.caption, []).append((picture, {}))
    for job in layout.drawn_gans:
        gan = {"group": job.group, "seed": str(job.seed), "task": str(job.task)}
        for picture in layout.sample_grids_of(job):
            kinds.setdefault(picture.caption, []).append((picture, gan))
    yield from kinds.items()


def _plots(
    layout: Layout, texts: Texts, page: Path, caption: str, kind: Iterable[tuple[Picture, Wildcards]]
) -> Exhibit | None:
    """Return the plots with one caption; None if there are none."""
    folder, dpi = Path(plots_folder(layout.results)), layout.settings.plots.dpi
    first_seed = str(layout.settings.seeds[0])
    plots = []
    for picture, gan in kind:
        embedded = embed(folder, picture.name, dpi, page)
        if embedded is not None:
            is_first = gan.get("seed", first_seed) == first_seed
            plots.append(Plot(_label(picture), embedded, texts.caption(caption, **gan), is_first))
    if not plots:
        return None
    captions = {plot.caption for plot in plots}
    common = captions.pop() if len(captions) == 1 else EMPTY
    if common:
        plots = [replace(plot, caption=EMPTY) for plot in plots]
    title = _title(caption)
    return Exhibit(title, anchor(title), common, plots, folded=caption in FOLDED)


def _label(picture: Picture) -> str:
    """Return what distinguishes a plot from others with its caption: content if it differs, method or GAN."""
    shows, *others = picture.labels.values()
    parts = [*([shows] if shows != picture.caption.replace("_", " ") else []), *others]
    return ", ".join(part for part in parts if part != ALL)


def _source(layout: Layout, table: Picture) -> Path:
    return Path(layout.table(PAGES[table.name].source))


def _table(layout: Layout, texts: Texts, page: Path, table: Picture) -> Exhibit:
    shown, source = PAGES[table.name], _source(layout, table)
    content = shown.table(read_table(source, shown.columns))
    files = [source, Path(layout.page(table))]
    title = _title(table.caption)
    return Exhibit(
        title,
        anchor(title),
        texts.caption(table.caption),
        table=Markup(content.to_html(index=False, border=0, na_rep="")),
        files=[(path.suffix.removeprefix(".").upper(), link(path, page)) for path in files if path.is_file()],
        folded=table.caption in FOLDED,
    )


def _title(caption: str) -> str:
    return TITLES.get(caption, caption.replace("_", " ").capitalize())
