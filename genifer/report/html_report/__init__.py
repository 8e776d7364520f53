"""The report of a run: one self-contained HTML page without scripts, which needs no network."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from genifer import __version__
from genifer.config import plain
from genifer.errors import GeniferError
from genifer.layout import REPORT, SNAKEMAKE_REPORT, Layout
from genifer.report.captions import Captions
from genifer.report.html_report.facts import facts, method_rows
from genifer.report.html_report.origin import Provenance, files
from genifer.report.html_report.pictures import link
from genifer.report.html_report.sections import collect
from genifer.report.html_report.texts import Texts, html
from genifer.run_file import run_file_text
from genifer.runtime.files import atomic_write

TEMPLATE, STYLE = "report.html.jinja", "style.css"


def write_report(layout: Layout, output: Path | None = None, snakemake_report: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        output: the page to write; by default ``report.html`` in the run's folder.
        snakemake_report: Snakemake's own report, to link to; by default the one beside the page.

    Returns:
        The path of the page.

    Raises:
        GeniferError: the run has no results, or a table is damaged.
    """
    results = Path(layout.results)
    path = output or results / REPORT
    check_results(layout)
    captions = Captions(layout)
    texts, provenance = Texts(captions), Provenance(results)
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    headings, rows = method_rows(layout)
    other = snakemake_report or path.with_name(SNAKEMAKE_REPORT)
    page = environment.get_template(TEMPLATE).render(
        style=(folder / STYLE).read_text(encoding="utf-8"),
        captions=captions,
        shown=collect(layout, texts, path.parent),
        headings=headings,
        rows=rows,
        old_images=html(captions.old_images),
        facts=facts(layout, captions, provenance.commit),
        settings=run_file_text(plain(layout.settings)),
        provenance=provenance,
        versions=html(captions.versions),
        files=files(layout, path.parent),
        snakemake_report=link(other, path.parent) if other.is_file() else "",
        version=__version__,
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def check_results(layout: Layout) -> None:
    """Raise a `GeniferError` if a run has no results."""
    if not Path(layout.table("summary")).is_file():
        raise GeniferError(
            f"{layout.results}: has no results to report (summary.csv is missing); first make the run: "
            "snakemake --configfile FILE"
        )
