"""The handler of Snakemake's log records; Snakemake calls it in a thread of its own."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_genifer.jobs import TARGET, Job, clock
from snakemake_logger_plugin_genifer.plan import Plan
from snakemake_logger_plugin_genifer.storage import StorageError, storage_error

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

QUIET_JOBS = "GENIFER_QUIET_JOBS"
"""Environment variable that tells jobs to print only warnings, because the handler prints the rest."""

UNINTERESTING = (
    "Assuming unrestricted shared filesystem usage",
    "Building DAG of jobs",
    "Changing to shadow directory",
    "Conda environments: ignored",
    "Config file ",
    "Elapsed time:",
    "Execute ",
    "Finished retrieval",
    "Finished upload",
    "Provided ",
    "Removing local copy of storage file",
    "Removing output files of failed job",
    "Retrieving from storage",
    "Rules with provenance triggered jobs",
    "Rules claiming more threads will be scaled down",
    "Select jobs to execute",
    "Singularity containers: ignored",
    "Storing in storage",
    "Storing output in storage",
    "This was a dry-run",
    "The run involves checkpoint jobs",
    "Touching output file",
    "Using shell:",
    "Would remove",
    "Write-protecting output file",
    "host:",
    "Reasons:",
    "Some jobs were triggered by provenance information",
)
"""Beginnings of Snakemake's messages that go to its log file only."""

FAILED_COMMAND = "returned non-zero exit status"
"""Part of Snakemake's message about a failed job, which only repeats the command; the log gives the cause."""

PLACE = re.compile(
    r'WorkflowError in file "[^"]*", line \d+:\n(?P<message>.*?)(\n  File "[^"]*", line \d+, in .*)+',
    re.DOTALL,
)
"""Format in which Snakemake prints an error that the Snakefile raises."""

LOG_FILE = "Complete log(s): "
"""Beginning of Snakemake's message about its log file."""

STOPPED_BY_USER = "Terminating processes on user request"
"""Beginning of Snakemake's message after Ctrl-C."""

NOT_COMPLETED = "At least one job did not complete successfully"

LAST_WORDS = "Exiting because a job execution failed"
"""Beginning of Snakemake's last message if a job has failed."""

LINES_OF_LOG = 12
"""Number of lines printed from the end of a failed job's log."""


class LogHandler(LogHandlerBase):
    """Prints the progress of a run.

    With ``--verbose`` or ``--debug-dag`` it prints Snakemake's own output.
    """

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.own: logging.Handler | None = None
        if settings.verbose or settings.debug_dag:
            self.own = _snakemakes_own(settings)
            return
        from rich.console import Console

        # Imported here, because every `snakemake` of this environment imports the plugin.
        stream = sys.stdout if settings.stdout else sys.stderr
        self.console = Console(file=stream, no_color=settings.nocolor or None, highlight=False)
        self.quiet = {str(getattr(each, "name", each)).lower() for each in settings.quiet or ()}
        self.plan = Plan()
        self.jobs: dict[int, Job] = {}
        self.running: dict[int, Job] = {}
        self.printed: set[int] = set()
        self.failed: set[int] = set()
        self.stopping = False
        self.done = self.total = 0
        self.began = time.time()
        self.guard = threading.RLock()
        self.live: Live | None = None
        os.environ[QUIET_JOBS] = "1"

    def emit(self, record: logging.LogRecord) -> None:
        if self.own is not None:
            if self.own.filter(record):
                self.own.emit(record)
            return
        try:
            with self.guard:
                self._take(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        if self.own is None:
            self._stop_live()
            os.environ.pop(QUIET_JOBS, None)
        super().close()

    def _take(self, record: logging.LogRecord) -> None:
        if "all" in self.quiet and not self.common_settings.dryrun:
            return
        match getattr(record, "event", None):
            case LogEvent.RUN_INFO:
                self._run_info(record)
            case LogEvent.JOB_INFO:
                self._job_info(record)
            case LogEvent.SHELLCMD:
                command = getattr(record, "shellcmd", None) or getattr(record, "cmd", None)
                if self.common_settings.printshellcmds and command:
                    self._print(str(command))
            case LogEvent.JOB_FINISHED:
                self._finished(record)
            case LogEvent.JOB_ERROR:
                self._job_error(record)
            case LogEvent.ERROR | None:
                self._message(record)

    def _run_info(self, record: logging.LogRecord) -> None:
        counts = dict(getattr(record, "stats", {}))
        self.total = counts.get("total", 0) - counts.get(TARGET, 0)
        if self.common_settings.dryrun and self.plan.jobs:  # comes before the jobs, and once more after them
            for line in self.plan.lines():
                self._print(line)
            self.plan = Plan()
        elif not self.common_settings.dryrun and not self.quiet:
            self._print(f"{self.total} job{'s'[: self.total != 1]} to run")
        elif self.common_settings.dryrun and self.quiet:
            self._print(record.getMessage())

    def _job_info(self, record: logging.LogRecord) -> None:
        job = Job.of(record)
        if self.common_settings.dryrun:
            self.plan.add(job, getattr(record, "reason", ""))
            return
        if job.rule == TARGET:
            return
        self.jobs[job.number] = self.running[job.number] = job
        self.printed.discard(job.number)  # of an earlier attempt
        if not self.quiet:
            self._start_live()

    def _finished(self, record: logging.LogRecord) -> None:
        number = int(getattr(record, "job_id", -1))
        job = self.running.pop(number, self.jobs.get(number))
        if job is None or job.rule == TARGET:
            return
        self.done += 1
        self.failed.discard(number)
        if not self.quiet:
            self._print(f"{self._progress(record.created)}  {job.finished(record.created)}")

    def _job_error(self, record: logging.LogRecord) -> None:
        number = int(getattr(record, "jobid", -1))
        if number in self.printed:  # Snakemake repeats all errors at the end
            return
        job = self.running.pop(number, None) or self.jobs.get(number) or Job.of(record)
        if job.was_interrupted or self.stopping:
            self.printed.add(number)
            self._print(f"{self._progress(record.created)}  {job.label}  stopped", style="yellow")
            return
        message = str(getattr(record, "rule_msg", None) or "").strip()
        self._failed(job, [*message.splitlines(), *job.end_of_log(LINES_OF_LOG)], record.created)

    def _storage_error(self, error: StorageError, now: float) -> None:
        jobs = [job for job in self.running.values() if error.not_stored in job.outputs]
        if jobs:
            self.running.pop(jobs[0].number)
            self._failed(jobs[0], [str(error)], now)
            return
        self._print(
            f"{error}. Without it the run cannot go on. When the storage answers again, the same command "
            "continues from what is there.",
            style="bold red",
        )

    def _failed(self, job: Job, lines: Iterable[str], now: float) -> None:
        self.printed.add(job.number)
        self.failed.add(job.number)
        self._print(f"{self._progress(now)}  {job.label}  failed", style="bold red")
        for line in lines:
            self._print(f"    {line}")
        for log in job.logs:
            self._print(f"  log: {log}")

    def _message(self, record: logging.LogRecord) -> None:
        text = without_place(record.getMessage().rstrip())
        if text in ("", "None") or FAILED_COMMAND in text:
            return
        if text.startswith(STOPPED_BY_USER):
            self.stopping = True
            self._print("Stopping. Trainings save their state first.", style="yellow")
            return
        if text.startswith(LOG_FILE):
            self._print(f"log     {os.path.relpath(text.removeprefix(LOG_FILE))}")
            return
        if record.levelno >= logging.ERROR and (error := storage_error(text)) is not None:
            self._storage_error(error, record.created)
            return
        if self.printed and NOT_COMPLETED in text:
            if self.stopping:
                self._print("Stopped. The same command continues from what is there.", style="yellow")
            return
        if text.startswith(LAST_WORDS):
            jobs = f"{len(self.failed)} jobs" if len(self.failed) != 1 else "1 job"
            self._print(f"{jobs} failed. The same command continues from what is there.", style="bold red")
        elif record.levelno >= logging.WARNING:
            self._print(text, style="red" if record.levelno >= logging.ERROR else "yellow")
        elif record.levelno >= logging.INFO and not text.lstrip().startswith(UNINTERESTING):
            self._print(text)

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style or None, markup=False, soft_wrap=True)

    def _progress(self, now: float) -> str:
        width = len(str(self.total))
        return f"[{self.done:{width}}/{self.total}] {clock(now - self.began)}"

    def _start_live(self) -> None:
        if self.live is None and self.console.is_terminal:
            from rich.live import Live

            self.live = Live(
                console=self.console,
                get_renderable=self._live_line,
                transient=True,
                refresh_per_second=2,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self.live.start()

    def _stop_live(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _live_line(self) -> Text:
        from rich.text import Text

        now = time.time()
        jobs = sorted(self.running.copy().values(), key=lambda job: job.began)
        text = self._progress(now) + "  "
        if jobs:
            text += jobs[0].running(now)
            text += f"  (and {len(jobs) - 1} more)" if len(jobs) > 1 else ""
        else:
            text += "waiting for the next job"
        return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def without_place(text: str) -> str:
    """Return an error message without its line in the Snakefile, which does not help a user."""
    found = PLACE.fullmatch(text)
    return found["message"].strip() if found else text


def _snakemakes_own(settings: object) -> logging.Handler:
    """Return the handler that Snakemake would use without a plugin."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    given = vars(settings)
    return ColorizingTextHandler(
        nocolor=given["nocolor"],
        stream=sys.stdout if given["stdout"] else sys.stderr,
        formatter=DefaultFormatter(given["quiet"], given["show_failed_logs"]),
        filter=DefaultFilter(
            given["quiet"], given["debug_dag"], given["verbose"], given["dryrun"], given["printshellcmds"]
        ),
    )
