"""Compute the chunks of one campaign in several processes of one machine, each with its own cores or GPU."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from lanewise.errors import MachineError, StorageError, UsageError, WorkerLost
from lanewise.machine import host, interrupts
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest.manifest import Manifest
from lanewise.operations import chunks
from lanewise.operations.chunks import Outcome
from lanewise.storage import claims, failures
from lanewise.storage.checkpoints import Policy
from lanewise.storage.claims import Claim
from lanewise.storage.record import Record

_POLL_S = 0.5
# A chunk that has cost this many workers is given up; so is the start of workers that end before they get a chunk.
_MOST_LOSSES = 3
_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


@dataclass(frozen=True)
class Share:
    """A worker's part of the machine.

    Attributes:
        cores: numbers of the cores that it is bound to.
        gpu: value of CUDA_VISIBLE_DEVICES; None if it computes on the CPU.
    """

    cores: tuple[int, ...]
    gpu: str | None = None


def shares(manifest: Manifest, n: int) -> list[Share]:
    """The machine in n parts, within resources.cpus and resources.gpus.

    Raises:
        UsageError: the machine or the manifest has fewer cores or GPUs, or the output URL is in memory.
    """
    asked = manifest.resources
    cores = host.affinity()[: min(asked.cpus, host.n_cores())]
    if n > len(cores):
        raise UsageError(
            f"--workers {n}: resources.cpus is {asked.cpus} and {host.n_cores()} cores are here; "
            f"expected 1 to {len(cores)}"
        )
    if manifest.output.url.startswith("memory:"):
        raise UsageError(f"--workers {n}: {manifest.output.url} is local to one process; choose another output.url")
    parts = [tuple(cores[at * len(cores) // n : (at + 1) * len(cores) // n]) for at in range(n)]
    found = _gpus() if asked.device != "cpu" else []
    if not found:
        return [Share(part) for part in parts]
    if n > min(asked.gpus, len(found)):
        raise UsageError(
            f"--workers {n}: resources.gpus is {asked.gpus} and {len(found)} are here; each worker needs one GPU"
        )
    return [Share(part, gpu) for part, gpu in zip(parts, found, strict=False)]


def run(
    record: Record, indices: Sequence[int], n: int, policy: Policy, *, overwrite: bool, progress: Reporter
) -> Outcome:
    """Compute chunks in n processes; the results are those of one process.

    The chunk of a worker that dies is taken up by a new one, three times at most.

    Raises:
        UsageError: see `shares`.
        StorageError, MachineError: raised in a worker; the others stop after their round.
        SystemExit: after a signal, when every worker has stopped after its round.
    """
    crew = _Crew(record, indices, policy, overwrite=overwrite, progress=progress)
    with interrupts.deferred():
        crew.work(shares(record.manifest, n))
    interrupts.stop_here()
    return crew.outcome


@dataclass
class _Worker:
    """A process, its current chunk, and the finished and total steps of that chunk."""

    process: Any
    connection: Connection
    share: Share
    chunk: int | None = None
    done: int = 0
    total: int = 0


@dataclass
class _Crew:
    """The workers of a run and its result so far.

    Attributes:
        losses: number of workers that died, by the index of their chunk; None: before they had one.
        stopping: whether the workers have been told to end.
    """

    record: Record
    indices: Sequence[int]
    policy: Policy
    overwrite: bool
    progress: Reporter
    workers: list[_Worker] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    losses: Counter[int | None] = field(default_factory=Counter)
    stopping: bool = False

    def work(self, parts: Sequence[Share]) -> None:
        """Compute until no chunk is left; a signal or a fatal error stops all workers."""
        left = deque(self.indices)
        fatal = None
        self.progress.begin(f"{len(parts)} workers", len(self.indices))
        for share in parts[: len(left)]:
            self._start(share)
        try:
            while self.workers:
                if not self.stopping and (interrupts.pending() or fatal is not None):
                    self.stopping = True
                    left.clear()
                    self._stop()
                for worker in self._heard():
                    fatal = self._answer(worker, left) or fatal
        finally:
            for worker in self.workers:
                worker.process.kill()
        if fatal is not None:
            raise fatal

    def _start(self, share: Share) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        arguments = (theirs, replace(self.record), self.policy, share, self.overwrite)
        process = spawn.Process(target=_serve, args=arguments, name="lanewise-worker")
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours, share))

    def _stop(self) -> None:
        """Ask every worker to stop after its round."""
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGTERM)

    def _heard(self) -> list[_Worker]:
        """The workers that have sent a message."""
        ready = wait([worker.connection for worker in self.workers], timeout=_POLL_S)
        return [worker for worker in self.workers if worker.connection in ready]

    def _answer(self, worker: _Worker, left: deque[int]) -> Exception | None:
        """Receive one message of a worker; returns a fatal error."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._gone(worker, left)
            return None
        match message:
            case ("free",):
                self._hand_out(worker, left)
            case "did", outcome:
                self._count(outcome)
                worker.chunk = None
            case "fatal", Exception() as error:
                return error
            case "begin", _, total:
                worker.done, worker.total = 0, total
            case "step", done, _:
                worker.done = done
                self._show()
            case "say", event, text, fields:
                self.progress.say(event, text, **fields)
        return None

    def _hand_out(self, worker: _Worker, left: deque[int]) -> None:
        worker.chunk = left.popleft() if left else None
        worker.done = worker.total = 0
        with contextlib.suppress(ConnectionError):  # it has ended; the next recv raises EOFError
            worker.connection.send(worker.chunk)

    def _gone(self, worker: _Worker, left: deque[int]) -> None:
        """Remove a worker that has ended; if it died, its chunk is put back, and a new worker starts in its place."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        code = worker.process.exitcode
        if self.stopping or interrupts.pending() or (worker.chunk is None and code == 0):
            return
        self.losses[worker.chunk] += 1
        given_up = self.losses[worker.chunk] >= _MOST_LOSSES
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        remedy = ", perhaps out of memory; lower --workers or batch.width if it happens again"
        error = WorkerLost(f"its process {how}{remedy if code == -signal.SIGKILL else ''}")
        who = "a worker without a chunk" if worker.chunk is None else f"chunk {worker.chunk}"
        self.progress.say("failed" if given_up else "lost", f"{who}: {error}", chunk=worker.chunk)
        with contextlib.suppress(StorageError):
            claims.withdraw(self.record.store, worker.process.pid)
            if worker.chunk is not None:
                failures.record(self.record.store, self.record.plan.chunks[worker.chunk], claims.node(), error)
        if given_up:
            self._count(Outcome(errors=(error,)))
        elif worker.chunk is not None:
            # The last turn is the best one if memory is short. What is committed already will be reused.
            left.append(worker.chunk)
        if left and not (given_up and worker.chunk is None):
            self._start(worker.share)

    def _count(self, part: Outcome) -> None:
        self.outcome += part
        self._show()

    def _show(self) -> None:
        done = self.outcome.computed + self.outcome.reused + len(self.outcome.errors)
        at = [f"chunk {w.chunk}: {w.done}/{w.total}" for w in self.workers if w.chunk is not None and w.total]
        self.progress.step(done, ", ".join(at))


class _Sent(Silent):
    """Sends a worker's progress to its parent process, which reports remarks itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, what: str, total: int) -> None:
        """Send it."""
        self._connection.send(("begin", what, total))

    def step(self, done: int, note: str = "") -> None:
        """Send it."""
        self._connection.send(("step", done, note))

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Send it, unless it is a remark."""
        if event != "remark":
            self._connection.send(("say", event, text, fields))


def _serve(connection: Connection, record: Record, policy: Policy, share: Share, overwrite: bool) -> None:
    """A worker process: asks for chunks until none is left. It takes its share before JAX is imported."""
    _take(share)
    progress = _Sent(connection)
    try:
        with Claim(record.store, progress) as claim:
            while True:
                connection.send(("free",))
                if (index := connection.recv()) is None:
                    return
                solver, chunk = chunks.solver(record), record.plan.chunks[index]
                outcome = chunks.compute(record, solver, [chunk], policy, overwrite=overwrite, progress=claim)
                connection.send(("did", replace(outcome, errors=tuple(map(_portable, outcome.errors)))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent process has ended
    except Exception as error:  # here a worker's failure becomes its parent's
        connection.send(("fatal", _portable(error)))


def _take(share: Share) -> None:
    """Restrict this process to its share, and end it with its parent."""
    if hasattr(os, "setsid"):
        # A terminal sends Ctrl-C to its whole session; only the parent process must get it.
        os.setsid()
    interrupts.install()
    if share.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.gpu
    if hasattr(os, "sched_setaffinity"):
        # XLA starts one thread per core of the affinity.
        os.sched_setaffinity(0, share.cores)
    threading.Thread(target=_end_with_parent, daemon=True, name="lanewise-parent").start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _portable(error: Exception) -> Exception:
    """The error, or one with its text if it cannot be pickled."""
    try:
        same: Exception = pickle.loads(pickle.dumps(error))
        return same
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _gpus() -> list[str]:
    """Values of CUDA_VISIBLE_DEVICES, one per GPU that JAX could use."""
    if not any(importlib.util.find_spec(name) for name in _PLUGINS):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one.strip() for one in visible.split(",") if one.strip()]
    with contextlib.suppress(MachineError):
        return [index for (index,) in host.gpus("index")]
    return []
