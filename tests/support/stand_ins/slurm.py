"""Stands in for Slurm's commands: jobs run at once, on this machine, and every request is noted.

The first argument is the command's name. The folder is $STAND_IN_SLURM; its file ``stop`` names a
rule whose first job is told to stop once its training has begun, as Slurm does at a time limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN_SLURM"])


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def sbatch(arguments: list[str]) -> None:
    (FOLDER / "jobs").mkdir(exist_ok=True)
    number = str(1001 + len(list((FOLDER / "jobs").iterdir())))
    (FOLDER / "jobs" / number).write_text("PENDING")
    with (FOLDER / "requests").open("a") as file:
        file.write(" ".join(part for part in arguments if not part.startswith("--wrap")) + "\n")
    with (FOLDER / "output").open("a") as output:
        subprocess.Popen(
            [sys.executable, __file__, "job", number, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    say(number)


def job(arguments: list[str]) -> None:
    number, *request = arguments
    comment = request[request.index("--comment") + 1]
    command = next(part.removeprefix("--wrap=") for part in request if part.startswith("--wrap="))
    gpus = {"SLURM_GPUS": "1"} if "--gpus=1" in request else {}
    running = subprocess.Popen(
        ["sh", "-c", command],
        env=os.environ | gpus | {"SLURM_JOB_ID": number},
        cwd=request[request.index("-D") + 1],
        start_new_session=True,
    )
    stop = FOLDER / "stop"
    stopped = stop.exists() and stop.read_text() in comment
    if stopped:
        stop.unlink()
        while running.poll() is None and not list(Path().rglob("events.out.tfevents*")):
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGTERM)
    code = running.wait()
    (FOLDER / "jobs" / number).write_text("TIMEOUT" if stopped else "FAILED" if code else "COMPLETED")


def srun(arguments: list[str]) -> None:
    command = next(index for index, part in enumerate(arguments) if not part.startswith("-"))
    os.execvp(arguments[command], arguments[command:])


def sacct(_: list[str]) -> None:
    for path in (FOLDER / "jobs").iterdir():
        say(f"{path.name}|{path.read_text()}")


def sacctmgr(_: list[str]) -> None:
    say("my_account")


def nothing(_: list[str]) -> None:
    pass


COMMANDS = {"sbatch": sbatch, "job": job, "srun": srun, "sacct": sacct, "sacctmgr": sacctmgr}

if __name__ == "__main__":
    COMMANDS.get(sys.argv[1], nothing)(sys.argv[2:])
