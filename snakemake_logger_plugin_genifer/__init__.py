"""What `snakemake` prints in this project: a logger plugin of Snakemake, chosen in `workflow/profiles`.

One line per finished job, one live line for what is running, warnings and errors in full. Everything else
goes to Snakemake's log file alone. Snakemake finds the plugin by the name of this package. See
https://github.com/snakemake/snakemake-interface-logger-plugins.
"""

from __future__ import annotations

import sys
from pathlib import Path

from snakemake_logger_plugin_genifer.handler import LogHandler

__all__ = ["LogHandler", "let_cores_stand_alone"]


def let_cores_stand_alone(arguments: list[str]) -> None:
    """Let ``--cores`` and ``-c`` without a number mean all cores, as Snakemake's help says.

    From 8.0 on Snakemake's parser refuses that. It loads plugins before it parses its arguments, so they can
    still be completed here. A Snakemake that accepts the option without a number takes it for all cores
    itself, so there this changes nothing.

    Args:
        arguments: of the command line, the program first; completed in place.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for place in range(end - 1, 0, -1):
        if arguments[place] in ("--cores", "-c") and (
            place + 1 == end or arguments[place + 1].startswith("-")
        ):
            arguments.insert(place + 1, "all")
            end += 1


if Path(sys.argv[0]).stem in ("snakemake", "__main__"):
    let_cores_stand_alone(sys.argv)
