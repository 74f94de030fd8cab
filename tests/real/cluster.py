"""A one-node Slurm on this machine, of Debian's packages: slurmctld, slurmd, slurm-client, munge."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
_START_S = 20.0
_CONF = """\
ClusterName=t
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={home}/munge.sock,cred_expire=5
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
MaxArraySize={max_array_size}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
MailProg=/bin/true
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=3
MinJobAge=3600
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=4096 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
"""


class Cluster:
    """The daemons, and the commands of a user.

    Args:
        home: directory of its own, which every user may enter.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.environment = {**os.environ, "SLURM_CONF": str(home / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self, max_array_size: int) -> None:
        """Start the daemons of a site with this MaxArraySize, and wait until the node is idle."""
        home, conf = self._home, self.environment["SLURM_CONF"]
        for name in ("state", "spool"):
            (home / name).mkdir()
        Path(conf).write_text(_CONF.format(home=home, user=getpass.getuser(), max_array_size=max_array_size))
        key = home / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        munge = [f"--{name}={home}/munge.{name.split('-')[0]}" for name in ("key-file", "pid-file", "log-file")]
        socket = f"{home}/munge.sock"
        self._daemon("munged", "-F", *munge, f"--socket={socket}", f"--seed-file={home}/munge.seed")
        self._await(lambda: self._succeeds("munge", "-n", "-S", socket))
        self._daemon("slurmctld", "-D", "-f", conf, "-c")
        self._await(lambda: "UP" in self.told("scontrol", "ping"))
        self._daemon("slurmd", "-D", "-N", "localhost", "-f", conf)
        self._await(lambda: self.told("sinfo", "-h", "-N", "-o", "%t").strip() in {"idle", "mix", "alloc"})

    def told(self, *words: str) -> str:
        """Output of a command; empty if it fails."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    def queue(self) -> dict[str, str]:
        """State of every task that has not ended, by its name."""
        rows = (line.split() for line in self.told("squeue", "-h", "-r", "-o", "%i %T").splitlines())
        return {row[0]: row[1] for row in rows}

    def await_end(self, seconds: float) -> None:
        """Wait until no job is left."""
        self._await(lambda: not self.queue(), seconds)

    def await_state(self, task: str, state: str, seconds: float) -> None:
        """Wait until a task has a state."""
        self._await(lambda: self.queue().get(task) == state, seconds)

    def state(self, job: str) -> str:
        """State of a job or task, also after its end."""
        words = self.told("scontrol", "show", "job", job, "-o").split()
        return next((word.partition("=")[2] for word in words if word.startswith("JobState=")), "")

    def stop(self) -> None:
        """End every job and daemon."""
        self.told("scancel", "--user", getpass.getuser())
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(timeout=_START_S)

    def _daemon(self, name: str, *arguments: str) -> None:
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program is not None
        log = (self._home / f"{name}.out").open("wb")
        self._daemons.append(subprocess.Popen([program, *arguments], env=self.environment, stdout=log, stderr=log))

    def _succeeds(self, *words: str) -> bool:
        return subprocess.run(words, env=self.environment, capture_output=True, check=False).returncode == 0

    def _await(self, condition: Callable[[], bool], seconds: float = _START_S) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not in {seconds} s; see {self._home}"
            time.sleep(0.1)
