"""A logger plugin that decides what `snakemake` prints in this project; `workflow/profiles` select it.

It prints one line per finished job, one live line for the running jobs, and warnings and errors in full.
Everything else goes to Snakemake's log file only. Snakemake finds the plugin by the name of this package. See
https://github.com/snakemake/snakemake-interface-logger-plugins.
"""

from __future__ import annotations

import sys
from pathlib import Path

from snakemake_logger_plugin_genifer.handler import LogHandler

__all__ = ["LogHandler", "let_cores_stand_alone"]


def let_cores_stand_alone(arguments: list[str]) -> None:
    """Make ``--cores`` and ``-c`` without a number mean all cores, as Snakemake's help says.

    Since 8.0 Snakemake's parser refuses the option without a number. Plugins are loaded before the arguments
    are parsed, so they can be completed here. A version that accepts the bare option also uses all cores, so
    this changes nothing there.

    Args:
        arguments: the command line, the program first; changed in place.
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
