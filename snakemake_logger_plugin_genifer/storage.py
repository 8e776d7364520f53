"""Snakemake's errors about files in a storage, in one line each."""

from __future__ import annotations

import re
from dataclasses import dataclass

STORING = "store output in storage"

FAILED = re.compile(
    r"^(?:[\s|]*|.*WorkflowError: )Failed to "
    rf"(?P<action>{STORING}|(?:retrieve|remove) storage object(?: from)?|check existence of|get .*? of) "
    r"(?P<file>[^\n]+)\n[\s|]*(?P<reason>[^\n]*)",
    re.MULTILINE,
)
"""Format of these errors. In the traceback of an exception group, lines of code have the same words."""

ACTIONS = {STORING: "take", "retrieve storage object from": "give", "remove storage object": "delete"}


@dataclass(frozen=True)
class StorageError:
    """What a storage did not do.

    Attributes:
        file: with the storage's prefix.
        reason: error of the storage plugin.
        storing: whether the file is the output of a job, which fails; any other error stops the run.
    """

    file: str
    action: str
    reason: str
    storing: bool

    def __str__(self) -> str:
        return f"The storage does not {self.action} {self.file}: {self.reason}"


def storage_error(text: str) -> StorageError | None:
    """Return the first error of a storage in a message of Snakemake; None if there is none."""
    found = FAILED.search(text)
    if found is None:
        return None
    action = found["action"]
    return StorageError(
        found["file"], ACTIONS.get(action, "answer about"), found["reason"].strip(), action == STORING
    )
