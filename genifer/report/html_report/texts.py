"""The captions in `workflow/report` as HTML, rendered in the same way as in Snakemake's own report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from docutils.core import publish_parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound
from markupsafe import Markup

from genifer.errors import GeniferError
from genifer.layout import CAPTIONS
from genifer.report.captions import Captions

SAFE = {"raw_enabled": False, "file_insertion_enabled": False, "halt_level": 5, "report_level": 5}
"""Settings of Docutils: texts cannot include files or raw HTML."""


class Texts:
    """Captions of one run.

    Args:
        captions: values for the captions.
        folder: folder of the files ``<caption>.rst``.
    """

    def __init__(self, captions: Captions, folder: Path = CAPTIONS) -> None:
        self.folder = folder
        self._environment = Environment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._config = {"captions": lambda: captions}

    def caption(self, name: str, **wildcards: str) -> Markup:
        """Render a caption.

        Args:
            wildcards: wildcards of the job that draws the plot.

        Raises:
            GeniferError: there is no caption with this name.
        """
        job = SimpleNamespace(config=self._config, wildcards=SimpleNamespace(**wildcards))
        try:
            template = self._environment.get_template(f"{name}.rst")
        except TemplateNotFound:
            raise GeniferError(
                f"{self.folder / name}.rst: does not exist; the report needs the captions of a checkout, so "
                "install genifer from one: pip install --editable ."
            ) from None
        return html(template.render(snakemake=job))


def html(text: str) -> Markup:
    """Turn reStructuredText into HTML."""
    return Markup(publish_parts(text, writer="html5", settings_overrides=SAFE)["body"])
