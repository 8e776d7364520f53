"""A Slurm of its own on this machine: munge, MariaDB, slurmdbd, slurmctld and one slurmd per node.

All files lie in one temporary folder, all ports are free ones, and nothing of the system's own configuration is
read or changed. The GPUs are plain files: Slurm counts and assigns them, but nothing can compute on them. Needs
root, because a slurmd that starts jobs for others does.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

COMMANDS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "srun", "sacct")
PARTITIONS = {"gpu": {"gpu1": 2, "gpu2": 2}, "cpu": {"cpu1": 0}}
"""Nodes of each partition, with their GPUs."""
ACCOUNT = "lab"
CPUS_PER_NODE = 4
"""More than there are; they are only counted."""
START_SECONDS = 60.0

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmUser=root
AuthType=auth/munge
# A requeued job waits until its old credentials have expired.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Start at once, notice a lost node soon, and wait for as long as clusters do after SIGTERM.
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0
SlurmdTimeout=10
KillWait=30
ReturnToService=2
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
SlurmdParameters=config_overrides
"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageLoc=slurm
StorageUser=root
"""


def missing() -> str:
    """Why no Slurm can be started here; empty if one can."""
    absent = [name for name in COMMANDS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "Slurm's daemons need root"


@dataclass
class LocalSlurm:
    """A Slurm that runs.

    Attributes:
        environment: with which Slurm's commands find it.
    """

    folder: Path
    environment: Mapping[str, str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def call(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """The end of every daemon's log."""
        logs = sorted((self.folder / "log").glob("*"))
        return "".join(f"\n== {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def start(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground; it dies with this process, however that ends."""
        with (self.folder / "log" / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a daemon answers."""
        until = time.monotonic() + START_SECONDS
        while not ready():
            died = self.daemons[name].poll() is not None
            assert not died, f"{name} ended with {self.daemons[name].returncode}{self.logs()}"
            assert time.monotonic() < until, f"{name} does not answer{self.logs()}"
            time.sleep(0.05)

    def answers(self, *command: str) -> bool:
        done = subprocess.run(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        return done.returncode == 0

    def start_nodes(self) -> None:
        """Start the nodes that do not run: all at first, later those that were lost."""
        nodes = [node for nodes in PARTITIONS.values() for node in nodes]
        for node in nodes:
            daemon = self.daemons.get(f"slurmd-{node}")
            if daemon is None or daemon.poll() is not None:
                self.start(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        for node in nodes:
            shown = ("sinfo", "--noheader", "--nodes", node, "--format=%t")
            self.wait(f"slurmd-{node}", lambda shown=shown: self.call(*shown).split() == ["idle"])

    def lose_node(self, node: str) -> None:
        """What a power cut does: SIGKILL for a node's slurmd and for everything that it has started."""
        kill([psutil.Process(self.daemons[f"slurmd-{node}"].pid), *self.processes(SLURMD_NODENAME=node)])
        self.daemons[f"slurmd-{node}"].wait()

    def processes(self, **variables: str) -> list[psutil.Process]:
        """Everything that runs with the environment of this Slurm; slurmstepd, which has none, goes first."""
        variables = {"SLURM_CONF": self.environment["SLURM_CONF"]} | variables
        steps, others = set(), []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and variables.items() <= process.environ().items():
                    others.append(process)
                    parent = process.parent()
                    if parent is not None and parent.name() == "slurmstepd":
                        steps.add(parent)
        return [*steps, *others]

    def stop(self) -> None:
        """End all daemons and jobs, whatever state they are in."""
        for name in reversed(list(self.daemons)):
            self.daemons[name].terminate()
            if name == "slurmctld":
                with suppress(subprocess.TimeoutExpired):
                    self.daemons[name].wait(timeout=10)
        left = self.processes()
        kill(left)
        psutil.wait_procs(left, timeout=10)
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait()


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def local_slurm() -> Iterator[LocalSlurm]:
    """Start a Slurm, and take everything down at the end."""
    # Directly below /tmp, because munge wants a folder that everyone may enter; paths of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))},
        "PATH": f"{folder}/bin{os.pathsep}{_path()}",
        "SLURM_CONF": str(folder / "slurm.conf"),
        "MYSQL_UNIX_PORT": str(folder / "mariadb" / "socket"),
    }
    slurm = LocalSlurm(folder, environment)
    try:
        folder.chmod(0o755)
        _write_configuration(folder)
        _start(slurm)
        yield slurm
    finally:
        slurm.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _start(slurm: LocalSlurm) -> None:
    folder, database = slurm.folder, slurm.folder / "mariadb"
    munge = {name: str(folder / "munge" / name) for name in ("key", "socket", "pid", "seed", "log")}
    slurm.start(
        "munged", "munged", "--foreground", "--force", f"--key-file={munge['key']}",
        f"--socket={munge['socket']}", f"--pid-file={munge['pid']}", f"--seed-file={munge['seed']}",
        f"--log-file={munge['log']}",
    )  # fmt: skip
    slurm.call(
        "mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={database}", "--skip-test-db",
        "--auth-root-authentication-method=normal",
    )  # fmt: skip
    # Through a socket in a folder of root's, without network and passwords.
    slurm.start(
        "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={database}",
        f"--socket={slurm.environment['MYSQL_UNIX_PORT']}", "--skip-networking", "--skip-grant-tables",
        f"--pid-file={database}/pid", "--innodb-flush-log-at-trx-commit=0",
    )  # fmt: skip
    slurm.wait("mariadbd", (database / "socket").exists)
    slurm.wait("munged", (folder / "munge" / "socket").exists)
    slurm.start("slurmdbd", "slurmdbd", "-D")
    slurm.wait("slurmdbd", lambda: slurm.answers("sacctmgr", "--noheader", "list", "cluster"))
    slurm.call("sacctmgr", "--immediate", "add", "cluster", "test")
    slurm.call("sacctmgr", "--immediate", "add", "account", ACCOUNT)
    slurm.call("sacctmgr", "--immediate", "add", "user", "root", f"account={ACCOUNT}")
    slurm.start("slurmctld", "slurmctld", "-D", "-i")
    slurm.wait("slurmctld", lambda: slurm.answers("scontrol", "ping"))
    slurm.start_nodes()


def _write_configuration(folder: Path) -> None:
    for name in ("munge", "mariadb", "state", "log", "bin"):
        (folder / name).mkdir()
    # Snakemake's plugin removes SLURM_CONF for srun, because a cluster has its configuration in /etc.
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    (folder / "mariadb").chmod(0o700)
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o600)
    nodes = {node: gpus for nodes in PARTITIONS.values() for node, gpus in nodes.items()}
    ports = _free_ports(2 + len(nodes))
    host = socket.gethostname().split(".")[0]
    values = {"folder": folder, "host": host, "slurmctld_port": ports.pop(), "slurmdbd_port": ports.pop()}
    lines, gres = [], []
    for node, gpus in nodes.items():
        (folder / f"spool-{node}").mkdir()
        lines.append(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports.pop()} CPUs={CPUS_PER_NODE} "
            f"RealMemory=64000{f' Gres=gpu:{gpus}' if gpus else ''}"
        )
        for gpu in range(gpus):
            (folder / f"{node}-gpu{gpu}").touch()
            gres.append(f"NodeName={node} Name=gpu File={folder}/{node}-gpu{gpu}")
    for index, (name, members) in enumerate(PARTITIONS.items()):
        default = "YES" if index == 0 else "NO"
        lines.append(f"PartitionName={name} Nodes={','.join(members)} Default={default} MaxTime=1440")
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**values) + "\n".join(lines) + "\n")
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (folder / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
    (folder / "slurmdbd.conf").chmod(0o600)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _path() -> str:
    return f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
