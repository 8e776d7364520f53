"""The reference page of all commands with their arguments and options, generated from `genifer --help`."""

from __future__ import annotations

import html
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from genifer.cli import app

HEAD = """\
# Commands

Snakemake calls most of these commands, one per job; you can also run each by hand. `genifer COMMAND --help`
prints the same text.

"""


def commands_reference() -> str:
    """Return the page as Markdown."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="genifer")
    commands = [command for command in group.commands.values() if isinstance(command, TyperCommand)]
    panels: dict[str, list[str]] = {}
    for command in commands:
        row = f"| [`{command.name}`](#genifer-{command.name}) | {paragraphs(command)[0]} |\n"
        panels.setdefault(str(command.rich_help_panel), []).append(row)
    tables = [f"| {title} | |\n| --- | --- |\n{''.join(rows)}\n" for title, rows in panels.items()]
    sections = [section("genifer", group, context)]
    for command in commands:
        of_command = typer.Context(command, parent=context, info_name=command.name)
        sections.append(section(f"genifer {command.name}", command, of_command))
    return "".join([HEAD, *tables, *sections])


def section(name: str, command: TyperCommand | TyperGroup, context: typer.Context) -> str:
    """Return the section of a command: usage, arguments and options."""
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    text = "\n\n".join(paragraphs(command))
    return f"## `{name}`\n\n{text}\n\n```text\n{usage}\n```\n\n{''.join(parameters(command, context))}\n"


def paragraphs(command: TyperCommand | TyperGroup) -> list[str]:
    return html.escape(command.help or "", quote=False).split("\n\n")


def parameters(command: TyperCommand | TyperGroup, context: typer.Context) -> Iterator[str]:
    """Return arguments and options as a definition list."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            yield f"`{record[0]}`\n:   {html.escape(record[1], quote=False)}\n\n"
