"""``provenance.json`` of a run: all invocations of Snakemake that made a part of it.

It is an object with

* ``run``: name of the run;
* ``invocations``, in order: each has ``began`` and ``ended`` (UTC; None if Snakemake was killed),
  ``succeeded``, the ``command``, the ``genifer`` version, the ``source`` (commit, whether it was clean, which
  files had changed), Snakemake's ``software_deployment``, ``jobs`` (number of finished jobs by rule), and
  keys into the next two;
* ``settings``, ``environments``: by key, all settings of the run, and `genifer.provenance.environment` of the
  machine on which Snakemake ran. The machine of each job is in costs.csv.

An invocation that made nothing is not recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genifer import __version__
from genifer.config import RunSettings, plain
from genifer.errors import GeniferError
from genifer.layout import PROVENANCE
from genifer.provenance.environment import command_line, environment, source_of, without_home
from genifer.runtime.files import atomic_write

KEY_LENGTH = 12

Content = dict[str, Any]


def begin_invocation(
    results: Path,
    settings: RunSettings,
    arguments: Sequence[str],
    checkout: Path | None,
    deployment: Iterable[str] = (),
) -> None:
    """Record the start of an invocation of Snakemake.

    Args:
        results: the run's folder.
        arguments: Snakemake's command.
        checkout: the folder of the code; None if the package is installed instead.
        deployment: how Snakemake provides the software of the jobs, such as conda.

    Raises:
        GeniferError: ``provenance.json`` is damaged.
    """
    content = read_provenance(results) or {
        "run": settings.run,
        "invocations": [],
        "settings": {},
        "environments": {},
    }
    invocation = {
        "began": _now(),
        "ended": None,
        "succeeded": None,
        "command": command_line(arguments),
        "genifer": __version__,
        "source": source_of(checkout),
        "software_deployment": sorted(deployment),
        "jobs": None,
        "settings": _kept(content["settings"], without_home(plain(settings))),
        "environment": _kept(content["environments"], environment()),
    }
    _write(results, content, [*content["invocations"], invocation])


def end_invocation(results: Path, jobs: Iterable[str], succeeded: bool) -> None:
    """Record the end of the last invocation.

    Args:
        results: the run's folder.
        jobs: the rule of each finished job.
    """
    content = read_provenance(results)
    if content is None or not content["invocations"] or content["invocations"][-1]["ended"] is not None:
        return
    *before, last = content["invocations"]
    made = dict(sorted(Counter(jobs).items()))
    last |= {"ended": _now(), "succeeded": succeeded, "jobs": made}
    _write(results, content, [*before, last] if made else before)


def last_settings(results: Path) -> Content:
    """Return the settings with which a run was last made.

    Raises:
        GeniferError: they are unknown.
    """
    content = read_provenance(results)
    if content is None or not content["invocations"]:
        raise GeniferError(
            f"{results / PROVENANCE}: does not exist; Snakemake writes it when it makes a part of the run"
        )
    return {
        name: _with_home(value)
        for name, value in content["settings"][content["invocations"][-1]["settings"]].items()
    }


def _with_home(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_home(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_home(each) for each in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def _kept(known: Content, value: Content) -> str:
    """Add a value if it is new, and return its key."""
    text = json.dumps(value, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
    known.setdefault(key, value)
    return key


def read_provenance(results: Path) -> Content | None:
    """Read a run's ``provenance.json``; None if it does not exist.

    Args:
        results: the run's folder.

    Raises:
        GeniferError: the file is damaged.
    """
    path = results / PROVENANCE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(
            isinstance(content[name], kind)
            for name, kind in (("invocations", list), ("settings", dict), ("environments", dict))
        ):
            raise ValueError("it has unexpected content")
        return content
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeniferError(
            f"{path}: cannot be read as the provenance of a run ({error}). Restore it with: dvc checkout "
            f"--force {path}; or delete it, which loses the history of the run"
        ) from error


def _write(results: Path, content: Content, invocations: Sequence[Content]) -> None:
    """Write the invocations, with the settings and environments that they refer to."""
    content |= {"invocations": list(invocations)}
    for name, key in (("settings", "settings"), ("environments", "environment")):
        used = {invocation[key] for invocation in invocations}
        content[name] = {known: value for known, value in content[name].items() if known in used}
    path = results / PROVENANCE
    if not invocations:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
