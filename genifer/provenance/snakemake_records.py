"""``records.json`` of a run: Snakemake's records of how each file was made, kept beside the results.

For each file Snakemake records the rule, the parameters and the checksums of the inputs in
``.snakemake/metadata``, which belongs to one clone. ``records.json`` in the run's folder holds a copy of the
records of the run's files, each with the checksum of its file, so that they travel with the results:

* `restore`, called before Snakemake plans, brings back the records of files that came from elsewhere (``dvc
  pull``, ``dvc checkout``). If a file has two records, the one that fits its content is used, so the records
  of files that this clone has made since are kept.
* `record`, called after a run, writes ``records.json``.
* `times` tells when the recorded files were made.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genifer.errors import GeniferError
from genifer.layout import RECORDS
from genifer.runtime.files import atomic_write

NAMED_AT_MOST = 5
"""Number of files that a message lists; it counts the others."""

Record = dict[str, Any]


def restore(results: Path, snakemake: Path = Path(".snakemake")) -> list[str]:
    """Make Snakemake's records match the files of a run.

    Args:
        results: the run's folder, relative to Snakemake's working directory.
        snakemake: Snakemake's own folder.

    Returns:
        Notes for the user.

    Raises:
        GeniferError: a file has changed since its job wrote it, or ``records.json`` is damaged.
    """
    kept = _read_kept(results / RECORDS)
    local = _LocalRecords(snakemake)
    known = _Known(snakemake / "genifer" / f"{results.name}.json")
    arrived = bool(kept) and known.digest(results / RECORDS) != known.last_records
    changed, missing = [], []
    partly_newer = _jobs_with_other_files(kept, known)
    for name, (sha256, kept_record) in kept.items():
        path = Path(name)
        if not path.is_file():
            missing.append(name)
            # Without the record, Snakemake would treat the inputs of the job's other files as changed.
            if local.read(name) is None:
                local.write(name, kept_record)
        elif not local.incomplete(name):
            record = local.read(name)
            if known.digest(path) == sha256:
                other = arrived and record != kept_record and _job(kept_record) not in partly_newer
                if record is None or other:
                    local.write(name, kept_record)
            elif record in (None, kept_record):
                changed.append(name)
                os.utime(path)  # so that DVC computes its checksum again, too
    if changed:
        known.save()
        raise GeniferError(
            f"{_listed(changed)}: changed since its job wrote it (the checksum in {results / RECORDS} "
            "differs). Delete it; then restore it with 'dvc checkout' and its path, or let Snakemake make "
            "it and everything that depends on it again"
        )
    _show_changed_inputs(results, local, known)
    _write_kept(results, local, known, {name: kept[name] for name in missing})
    if not missing:
        return []
    return [
        f"{_listed(missing)}: missing, but recorded in {results / RECORDS}. What the run needs of them is "
        "made again, or 'dvc pull' fetches it if it was pushed"
    ]


def _job(record: Record) -> tuple[Any, Any]:
    """Return the part of a record that is the same for all files of a job."""
    return record.get("rule"), record.get("job_hash")


def _jobs_with_other_files(kept: Mapping[str, tuple[str, Record]], known: _Known) -> set[tuple[Any, Any]]:
    """Return the jobs with a file that differs from the recorded one.

    They have run again since. Their unchanged files, such as SVG plots after a change of the resolution,
    belong to the newer execution, too.
    """
    return {
        _job(record)
        for name, (sha256, record) in kept.items()
        if Path(name).is_file() and known.digest(Path(name)) != sha256
    }


def record(results: Path, snakemake: Path = Path(".snakemake")) -> None:
    """Write ``records.json`` of a run: the records of all its existing files."""
    known = _Known(snakemake / "genifer" / f"{results.name}.json")
    _write_kept(results, _LocalRecords(snakemake), known, {})


def times(results: Path) -> tuple[datetime, datetime] | None:
    """Return when the first recorded job of a run began and when the last one ended.

    Args:
        results: the run's folder.

    Returns:
        The two times; None if nothing is recorded.

    Raises:
        GeniferError: ``records.json`` is damaged.
    """
    records = [record for _, record in _read_kept(results / RECORDS).values()]
    began = [record["starttime"] for record in records if record.get("starttime")]
    ended = [record["endtime"] for record in records if record.get("endtime")]
    if not began or not ended:
        return None
    return datetime.fromtimestamp(min(began), UTC), datetime.fromtimestamp(max(ended), UTC)


def _show_changed_inputs(results: Path, local: _LocalRecords, known: _Known) -> None:
    """Make changed inputs newer than their outputs, so that Snakemake notices them.

    Snakemake compares an input's checksum with the recorded one only if the input is newer than the output,
    but after a pull timestamps are meaningless.
    """
    for name, record in local.under(results):
        for input_name, checksum in (record.get("input_checksums") or {}).items():
            source = Path(input_name)
            if (
                source.is_relative_to(results)
                and source.is_file()
                and source.stat().st_mtime_ns <= Path(name).stat().st_mtime_ns
                and known.digest(source) != checksum.removeprefix("sha256:")
            ):
                os.utime(source)


def _read_kept(path: Path) -> dict[str, tuple[str, Record]]:
    """Read the checksum and the record of each file."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: (entry["sha256"], entry["record"]) for name, entry in files.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GeniferError(
            f"{path}: cannot be read as records of a run ({error}). Restore it with: dvc checkout --force "
            f"{path}; or delete it if this run was made in this clone"
        ) from error


def _write_kept(
    results: Path, local: _LocalRecords, known: _Known, missing: dict[str, tuple[str, Record]]
) -> None:
    files = {name: {"sha256": sha256, "record": record} for name, (sha256, record) in missing.items()}
    for name, record in local.under(results):
        files[name] = {"sha256": known.digest(Path(name)), "record": record}
    path = results / RECORDS
    text = json.dumps({"files": dict(sorted(files.items()))}, indent=1, sort_keys=True) + "\n"
    if files and not (path.is_file() and path.read_text(encoding="utf-8") == text):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if path.is_file():
        known.last_records = known.digest(path)
        known.save()


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


class _LocalRecords:
    """Snakemake's records in this clone: one JSON file per output, named by its encoded path."""

    def __init__(self, snakemake: Path) -> None:
        self.metadata = snakemake / "metadata"
        self.markers = snakemake / "incomplete"

    def read(self, name: str) -> Record | None:
        try:
            return json.loads(self._path(self.metadata, name).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def write(self, name: str, record: Record) -> None:
        # Without this folder, Snakemake treats the metadata as those of an old version.
        self.markers.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path(self.metadata, name)) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def incomplete(self, name: str) -> bool:
        """Whether the file's job has started but not finished."""
        return self._path(self.markers, name).is_file()

    def under(self, results: Path) -> Iterator[tuple[str, Record]]:
        """Yield the run's existing, complete files with their records."""
        for path in sorted(self.metadata.rglob("*")):
            if not path.is_file():
                continue
            parts = path.relative_to(self.metadata).parts
            try:
                name = urlsafe_b64decode("".join(part.removeprefix("@") for part in parts)).decode()
            except ValueError:
                continue
            there = Path(name).is_relative_to(results) and Path(name).is_file()
            if there and not self.incomplete(name) and (record := self.read(name)) is not None:
                yield name, record

    def _path(self, folder: Path, name: str) -> Path:
        """Return a record's path: long names are split, and all parts but the last begin with @."""
        encoded = urlsafe_b64encode(name.encode()).decode()
        length = (os.pathconf(folder, "PC_NAME_MAX") if folder.is_dir() else 255) - 1
        parts = [encoded[start : start + length] for start in range(0, len(encoded), length)]
        return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


class _Known:
    """This clone's cache of a run: checksums of its files and of its last ``records.json``.

    A checksum is valid as long as size, timestamps and inode stay the same; ctime changes with every write
    and cannot be set back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.last_records: str | None = content["records"]
            self.checksums: dict[str, tuple[list[int], str]] = content["checksums"]
        except (OSError, ValueError, KeyError, TypeError):
            self.last_records, self.checksums = None, {}

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file in hexadecimal."""
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        seen, sha256 = self.checksums.get(str(path), ([], ""))
        if seen != state:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self.checksums[str(path)] = (state, sha256)
        return sha256

    def save(self) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text(
                json.dumps({"records": self.last_records, "checksums": self.checksums}), encoding="utf-8"
            )
