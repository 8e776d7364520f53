"""Time limits for trainings on a cluster, from their measured speed."""

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
"""Ratio of limit and estimate, because nodes differ and methods may prepare a task."""
START_MINUTES = 10
"""Minutes added to start PyTorch from a shared file system, and to compile."""

RESOURCES, RUNTIME = "set-resources", "runtime"
"""Keys of a profile that hold the limits."""


def limits(hours: Mapping[str, float], max_minutes: int) -> dict[str, str]:
    """Return the limit of each rule as a Snakemake expression, which grows with each attempt.

    Args:
        hours: hours of the longest training of each rule.
        max_minutes: maximum that the cluster allows; a longer training resumes in its next submission.
    """
    return {
        rule: f"min({START_MINUTES + math.ceil(FACTOR * 60 * each)} * attempt, {max_minutes})"
        for rule, each in hours.items()
    }


def write_limits(path: Path, limit_of: Mapping[str, str]) -> None:
    """Set the time limits of rules in a new or existing profile, without changing anything else in it.

    Args:
        path: path of the profile.
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
            f"{path}: cannot be read as a Snakemake profile ({error}); correct it, or give another file"
        ) from error
    profile = CommentedMap() if profile is None else profile
    if not isinstance(profile, dict):
        raise GeniferError(
            f"{path}: is not a Snakemake profile, which has 'key: value' lines; give another file"
        )
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
