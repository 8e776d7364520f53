"""The commands, files and links in the Markdown documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support.commands import ROOT

TOOLS = (
    "snakemake",
    "genifer",
    "dvc",
    "make",
    "pip",
    "conda",
    "docker",
    "apptainer",
    "snakedeploy",
    "git",
    "pytest",
    "tensorboard",
    "mlflow",
    ".ci/run",
)

NAMES = ("genifer", "dvc", "make", "pip", "conda", "git", "pytest", "tensorboard", "mlflow")
"""On their own in the prose these are names of tools, not commands."""

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
COMMENT = re.compile(r"(^#|\s#\s).*$")
FILE_NAME = re.compile(r"# (\w+\.(?:yaml|py))\b")


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


@dataclass
class Document:
    """A Markdown file: its prose, without fenced blocks, and these blocks in order."""

    path: Path
    prose: str
    blocks: list[Block]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = str(self.path.relative_to(ROOT))


@cache
def documents() -> list[Document]:
    """All Markdown files except the changelog, which may mention commands that no longer exist."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "tests" / "reference").rglob("*.md")]
    for folder in ("docs", "benchmarks", "config"):
        paths += (ROOT / folder).rglob("*.md")
    paths.append(ROOT / "results" / "README.md")
    return [read(path) for path in sorted(paths) if path.name != "CHANGELOG.md"]


def read(path: Path) -> Document:
    text = path.read_text()
    blocks = [Block(language, content) for _, language, content in FENCE.findall(text)]
    return Document(path, FENCE.sub("", text), blocks)


def lines_of(block: str) -> list[str]:
    """The commands in a block: continued lines are joined, comments dropped, and `a && b` is two commands."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        parts = COMMENT.sub("", line).split(" && ")
        found += [" ".join(part.split()) for part in parts if part.strip()]
    return found


def spans_of(prose: str) -> list[str]:
    """Commands in the prose: code spans that start with the name of a tool and go on."""
    spans = (" ".join(span.split()) for span in SPAN.findall(prose))
    starts = tuple(f"{tool} " for tool in TOOLS)
    return list(dict.fromkeys(span for span in spans if f"{span} ".startswith(starts) and span not in NAMES))


def scripts(document: Document) -> list[list[str]]:
    """Commands that run together, in order: those of each block, then each span."""
    found = [lines_of(block.text) for block in document.blocks if block.language in ("sh", "bash")]
    return found + [lines_of(span) for span in spans_of(document.prose)]


def commands() -> dict[str, str]:
    """Every command, and the first document that has it."""
    found: dict[str, str] = {}
    for document in documents():
        for script in scripts(document):
            for command in script:
                found.setdefault(command, document.name)
    return found


def given_files(document: Document) -> dict[str, str]:
    """Files that a document contains: YAML and Python blocks that start with a comment such as `# birds.yaml: ...`."""
    found = {}
    for block in document.blocks:
        name = FILE_NAME.match(block.text)
        if block.language in ("yaml", "python") and name:
            found[name[1]] = block.text
    return found


def written_files(document: Document) -> dict[str, str]:
    """Files in folders of the reader: blocks that start with a comment such as `# workflow/Snakefile`."""
    blocks = (re.match(r"# (\w+(?:/[\w.]+)+)\n", block.text) for block in document.blocks)
    return {name[1]: name.string for name in blocks if name}


def anchors(document: Document) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Document) -> list[str]:
    """Targets of links and pictures that are in the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", document.prose)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]
