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

PLUGIN = "snakemake_storage_plugin_"
"""Beginning of a storage plugin's package; a traceback shows it if Snakemake does not explain an error."""

ACTIONS = {STORING: "take", "retrieve storage object from": "give", "remove storage object": "delete"}


@dataclass(frozen=True)
class StorageError:
    """What a storage did not do.

    Attributes:
        action: what it did not do, with the file, which has the storage's prefix.
        reason: error of the storage plugin.
        not_stored: the output of a job that was not stored. The job fails; other errors stop the run.
    """

    action: str
    reason: str
    not_stored: str | None = None

    def __str__(self) -> str:
        return f"The storage does not {self.action}: {self.reason}"


def storage_error(text: str) -> StorageError | None:
    """Return the first error of a storage in a message of Snakemake; None if there is none."""
    if found := FAILED.search(text):
        action, file = found["action"], found["file"]
        return StorageError(
            f"{ACTIONS.get(action, 'answer about')} {file}",
            found["reason"].strip(),
            not_stored=file if action == STORING else None,
        )
    if "Traceback (most recent call last)" in text and PLUGIN in text:
        lines = [line.strip(" |+-") for line in text.splitlines()]
        return StorageError("answer", [line for line in lines if line][-1])
    return None
