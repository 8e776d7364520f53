"""The README's chart of the rules, from what Snakemake says of the paper's run."""

from __future__ import annotations

import re
from pathlib import Path

from commands import call

README_CHART = re.compile(r"(?<=^```mermaid\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)

LABELS = {
    ("train_genifer", "train_gan"): "features",
    ("train_gan", "train_genifer"): "replay for the next task",
}
"""What goes along an edge, where the names of its ends do not say it."""

Edges = set[tuple[str, str]]


def rule_graph(folder: Path) -> Edges:
    """Which rule's files go into which, over all tasks and methods; without `all`."""
    done = call(["snakemake", "--rulegraph", "mermaid-js"], folder)
    assert done.returncode == 0, done.stderr
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]$", done.stdout, re.MULTILINE))
    found = re.findall(r"^\s*(id\d+) --> (id\d+)$", done.stdout, re.MULTILINE)
    drawn = {name: drawn_as(rule) for name, rule in names.items()}
    return {(drawn[before], drawn[after]) for before, after in found if names[after] != "all"}


def drawn_as(rule: str) -> str:
    """Rules that do the same, on the first task and on later ones or to different tables, are one."""
    if rule.startswith("evaluate"):
        return "evaluate_replay" if "replay" in rule else "evaluate"
    if rule.startswith(("plot_", "write_")):
        return "plot"
    return "tabulate" if rule.startswith("tabulate") else rule


def without_shortcuts(edges: Edges) -> Edges:
    """The edges that do not follow from others: no rule to itself, none where a longer way leads, too.

    Of rules that feed each other, as the two of genifer's later tasks do, both directions stay.
    """
    kept = {(before, after) for before, after in edges if before != after}
    for before, after in sorted(kept):
        others = kept - {(before, after)}
        if after in reached(others, before) and before not in reached(kept, after):
            kept = others
    return kept


def reached(edges: Edges, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        news = {after for before, after in edges if before == here} - found
        found |= news
        waiting += news
    return found


def in_order(edges: Edges) -> list[tuple[str, str]]:
    """From the rules that need no other one onwards, step by step."""
    ends = {after for _, after in edges}
    waiting = sorted({before for before, _ in edges} - ends)
    ordered: list[tuple[str, str]] = []
    for here in waiting:
        for edge in sorted(edge for edge in edges if edge[0] == here):
            ordered.append(edge)
            if edge[1] not in waiting:
                waiting.append(edge[1])
    return ordered


def chart(folder: Path) -> str:
    """The chart as the README has it."""
    lines = []
    for before, after in in_order(without_shortcuts(rule_graph(folder))):
        label = LABELS.get((before, after))
        arrow = f"-- {label} -->" if label else "-->"
        lines.append(f"    {before} {arrow} {after}\n")
    return "flowchart LR\n" + "".join(lines)
