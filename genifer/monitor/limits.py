"""Time limits of trainings on a cluster, from measured speed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from genifer.errors import GeniferError
from genifer.runtime.files import atomic_write

FACTOR = 2.0
"""A limit is so many times the estimate: nodes differ, and methods may prepare a task."""
START_MINUTES = 10
"""Time to start PyTorch from a shared file system, and to compile."""

RESOURCES, RUNTIME = "set-resources", "runtime"
"""Where a profile has them."""


def limits(hours: Mapping[str, float], max_minutes: int) -> dict[str, str]:
    """Return the limit of each rule, as an expression of Snakemake: a training that is tried again gets more.

    Args:
        hours: that the longest training of each rule takes.
        max_minutes: that the cluster allows; a longer training resumes in its next submission.
    """
    return {
        rule: f"min({START_MINUTES + math.ceil(FACTOR * 60 * each)} * attempt, {max_minutes})"
        for rule, each in hours.items()
    }


def write_limits(path: Path, limit_of: Mapping[str, str]) -> None:
    """Set the time limits of rules in a profile, which may exist, and leave the rest of it as it is.

    Args:
        limit_of: minutes, or an expression, by rule.

    Raises:
        GeniferError: the file is not a profile, or cannot be written.
    """
    yaml = YAML()
    yaml.width = 110
    try:
        profile = yaml.load(path) if path.exists() else None
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise GeniferError(
            f"{path}: cannot be read as a profile of Snakemake ({error}); correct it, or name another file"
        ) from error
    profile = CommentedMap() if profile is None else profile
    if not isinstance(profile, dict):
        raise GeniferError(f"{path}: must hold 'key: value' lines, as a profile of Snakemake does")
    if profile.get(RESOURCES) is None:
        profile[RESOURCES] = CommentedMap()
    resources = profile[RESOURCES]
    for rule, limit in limit_of.items():
        of_rule = resources.setdefault(rule, CommentedMap()) if isinstance(resources, dict) else None
        if not isinstance(of_rule, dict):
            raise GeniferError(
                f"{path}: {RESOURCES}: must be a mapping from rules to their resources, such as "
                f"{{{rule}: {{{RUNTIME}: 60}}}}"
            )
        of_rule[RUNTIME] = limit
    with atomic_write(path) as temporary:
        yaml.dump(profile, temporary)
