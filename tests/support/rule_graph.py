"""The README's chart of the rules, made from Snakemake's graph of the paper's run."""

from __future__ import annotations

import re
from pathlib import Path

from support.commands import call

README_CHART = re.compile(r"(?<=^```mermaid\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)

GAN = "train_gan"
METHOD = re.compile(r"train_(?!gan$)\w+")
"""The training of a later task by a method."""

Edges = set[tuple[str, str]]


def chart(folder: Path) -> str:
    """The chart as the README has it."""
    lines = []
    for before, after in in_order(without_shortcuts(rule_graph(folder))):
        label = label_of(before, after)
        arrow = f"-- {label} -->" if label else "-->"
        lines.append(f"    {before} {arrow} {after}\n")
    return "flowchart LR\n" + "".join(lines)


def label_of(before: str, after: str) -> str:
    """What goes along an edge, where the names of its ends do not say it."""
    if METHOD.fullmatch(before) and after == GAN:
        return "features"
    return "replay for the next task" if before == GAN and METHOD.fullmatch(after) else ""


def rule_graph(folder: Path) -> Edges:
    """Which rule's files are inputs of which, over all tasks and methods; without the rule `all`."""
    done = call(["snakemake", "--rulegraph", "mermaid-js"], folder)
    assert done.returncode == 0, done.stderr
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]$", done.stdout, re.MULTILINE))
    found = re.findall(r"^\s*(id\d+) --> (id\d+)$", done.stdout, re.MULTILINE)
    drawn = {name: drawn_as(rule) for name, rule in names.items()}
    return {(drawn[before], drawn[after]) for before, after in found if names[after] != "all"}


def drawn_as(rule: str) -> str:
    """The node that stands for a rule: one for all tables, one for all plots."""
    if rule.startswith(("tabulate", "write_tables")):
        return "tables"
    return "plots" if rule.startswith("plot_") else rule


def without_shortcuts(edges: Edges) -> Edges:
    """Drop redundant edges: from a rule to itself, and where a longer way leads as well.

    Both directions stay between rules that feed each other, as a method and the GAN do on later tasks.
    """
    kept = {(before, after) for before, after in edges if before != after}
    for before, after in sorted(kept):
        others = kept - {(before, after)}
        if after in reached(others, before) and before not in reached(kept, after):
            kept = others
    return kept


def reached(edges: Edges, start: str) -> set[str]:
    """The rules that use a rule's files, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        news = {after for before, after in edges if before == here} - found
        found |= news
        waiting += news
    return found


def in_order(edges: Edges) -> list[tuple[str, str]]:
    """Sort edges from the rules that need no other one onwards."""
    ends = {after for _, after in edges}
    waiting = sorted({before for before, _ in edges} - ends)
    ordered: list[tuple[str, str]] = []
    for here in waiting:
        for edge in sorted(edge for edge in edges if edge[0] == here):
            ordered.append(edge)
            if edge[1] not in waiting:
                waiting.append(edge[1])
    return ordered
