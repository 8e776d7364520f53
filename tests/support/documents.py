"""The commands, files and links in the Markdown documents."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

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
    "wandb",
    ".ci/run",
)

NAMES = ("genifer", "dvc", "make", "pip", "conda", "git", "pytest", "tensorboard", "mlflow", "wandb")
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
def markdown_files() -> list[Path]:
    """All Markdown files of the repository."""
    paths = [*ROOT.glob("*.md"), ROOT / "results" / "README.md"]
    for folder in ("docs", "benchmarks", "config", "genifer", "tests", "workflow"):
        paths += (ROOT / folder).rglob("*.md")
    return sorted(paths)


@cache
def documents() -> list[Document]:
    """All Markdown files except the changelog, which may mention commands that no longer exist."""
    return [read(path) for path in markdown_files() if path.name != "CHANGELOG.md"]


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


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a Markdown file, as GitHub makes them: the second of a name ends in -1."""
    tokens = parsed(path)
    found: set[str] = set()
    for opening, heading in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or [])
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            numbered = (f"{anchor}-{number}" for number in itertools.count(1))
            found.add(anchor if anchor not in found else next(name for name in numbered if name not in found))
    return found


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a Markdown file that are in the repository."""
    inline = (child for token in parsed(path) for child in token.children or [])
    targets = (child.attrs.get("href") or child.attrs.get("src") for child in inline)
    return [unquote(str(target)) for target in targets if target and not re.match(r"[a-z]+:", str(target))]


@cache
def parsed(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text())
