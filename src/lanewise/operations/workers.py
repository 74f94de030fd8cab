"""Several processes at the chunks of one campaign, on one machine: each with cores, or a GPU, of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from lanewise.errors import INTERRUPTED, TERMINATED, StorageError, UsageError, WorkerLost
from lanewise.machine import host, interrupts
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk
from lanewise.operations import chunks
from lanewise.operations.chunks import Outcome
from lanewise.storage import claims, failures
from lanewise.storage.checkpoints import Policy
from lanewise.storage.claims import Claim
from lanewise.storage.record import Record

_POLL_S = 0.5
_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


@dataclass(frozen=True)
class Share:
    """What a worker may use of the machine.

    Attributes:
        cores: that it is bound to.
        gpu: that it sees; None where it computes on the CPU.
    """

    cores: tuple[int, ...]
    gpu: str | None = None


def shares(manifest: Manifest, n: int) -> list[Share]:
    """The machine in n parts, within resources.cpus and resources.gpus.

    Raises:
        UsageError: it does not have so many.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    asked = manifest.resources
    cores = cores[: min(asked.cpus, host.n_cores())]
    if n > len(cores):
        raise UsageError(
            f"--workers {n}: resources.cpus is {asked.cpus} and {host.n_cores()} cores are here; "
            f"expected 1 to {len(cores)}"
        )
    if manifest.output.url.startswith("memory:"):
        raise UsageError(f"--workers {n}: {manifest.output.url} is within one process; choose another output.url")
    parts = [tuple(cores[at * len(cores) // n : (at + 1) * len(cores) // n]) for at in range(n)]
    found = _gpus() if asked.device != "cpu" else []
    if not found:
        return [Share(part) for part in parts]
    if n > min(asked.gpus, len(found)):
        raise UsageError(
            f"--workers {n}: resources.gpus is {asked.gpus} and {len(found)} are here; one worker has one GPU"
        )
    return [Share(part, gpu) for part, gpu in zip(parts, found, strict=False)]


def run(
    record: Record, indices: Sequence[int], n: int, policy: Policy, *, overwrite: bool, progress: Reporter
) -> Outcome:
    """Compute chunks in n processes; the results are those of one.

    Raises:
        UsageError: the machine does not have so many parts.
        StorageError, MachineError: a worker met one; the others end their round.
        SystemExit: after a signal, once every worker has ended its round.
    """
    crew = _Crew(record, indices, policy, overwrite=overwrite, progress=progress)
    with interrupts.deferred():
        crew.work(shares(record.manifest, n))
    interrupts.stop_here()
    return crew.outcome


@dataclass
class _Worker:
    """A process, the chunk it is at, and how far it is."""

    process: Any
    connection: Connection
    share: Share
    chunk: int | None = None
    done: int = 0
    total: int = 0


@dataclass
class _Crew:
    """The workers of a run, and what is left for them."""

    record: Record
    indices: Sequence[int]
    policy: Policy
    overwrite: bool
    progress: Reporter
    workers: list[_Worker] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)

    def work(self, parts: Sequence[Share]) -> None:
        """Until nothing is left, or a signal or an error that concerns all ends it."""
        left = deque(self.indices)
        stopping, fatal = False, None
        self.progress.begin(f"{len(parts)} workers", len(self.indices))
        for share in parts[: len(left)]:
            self._start(share)
        try:
            while self.workers:
                if not stopping and (interrupts.pending() or fatal is not None):
                    stopping = True
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
        """Ask every worker to end its round."""
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGTERM)

    def _heard(self) -> list[_Worker]:
        ready = wait([worker.connection for worker in self.workers], timeout=_POLL_S)
        return [worker for worker in self.workers if worker.connection in ready]

    def _answer(self, worker: _Worker, left: deque[int]) -> Exception | None:
        """Take one message of a worker; returns an error that concerns all."""
        try:
            word, *rest = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._gone(worker, left)
            return None
        if word == "free":
            self._hand_out(worker, left)
        elif word == "did":
            self._count(rest[0])
            worker.chunk = None
        elif word == "fatal":
            error: Exception = rest[0]
            return error
        elif word == "begin":
            worker.done, worker.total = 0, rest[1]
        elif word == "step":
            worker.done = rest[0]
            self._show()
        elif word == "say":
            event, text, fields = rest
            self.progress.say(event, text, **fields)
        return None

    def _hand_out(self, worker: _Worker, left: deque[int]) -> None:
        worker.chunk = left.popleft() if left else None
        worker.done = worker.total = 0
        with contextlib.suppress(BrokenPipeError):  # it is gone; its connection will say so
            worker.connection.send(worker.chunk)

    def _gone(self, worker: _Worker, left: deque[int]) -> None:
        """A worker has ended. If a chunk ended it, that chunk has failed; the others go on without it."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        code = worker.process.exitcode
        if worker.chunk is None or interrupts.pending() or code in (TERMINATED, INTERRUPTED):
            return
        chunk = self.record.plan.chunks[worker.chunk]
        commit = None if self.overwrite else self.record.commits([chunk]).get(chunk.index)
        if commit is not None:  # it went after it had committed, before it said so
            self._count(Outcome(computed=1, counts=Counter(commit.counts)))
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
            error = WorkerLost(
                f"its process {how}, perhaps for want of memory; lower --workers or batch.width if it happens again"
            )
            self.progress.say("failed", f"chunk {chunk.index}: {error}", chunk=chunk.index)
            with contextlib.suppress(StorageError):
                claims.withdraw(self.record.store, worker.process.pid)
                failures.record(self.record.store, chunk, claims.node(), error)
            self._count(Outcome(errors=(error,)))
        if left:
            self._start(worker.share)

    def _count(self, part: Outcome) -> None:
        self.outcome += part
        self._show()

    def _show(self) -> None:
        done = self.outcome.computed + self.outcome.reused + len(self.outcome.errors)
        at = [f"chunk {w.chunk}: {w.done}/{w.total}" for w in self.workers if w.chunk is not None and w.total]
        self.progress.step(done, ", ".join(at))


class _Sent(Silent):
    """Progress of a worker, told to who started it; remarks are for that one to make."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, what: str, total: int) -> None:
        """Pass it on."""
        self._connection.send(("begin", what, total))

    def step(self, done: int, note: str = "") -> None:
        """Pass it on."""
        self._connection.send(("step", done, note))

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Pass it on."""
        if event != "remark":
            self._connection.send(("say", event, text, fields))


def _serve(connection: Connection, record: Record, policy: Policy, share: Share, overwrite: bool) -> None:
    """A worker: asks for chunks until there is none. Runs before JAX is imported, which then sees its share only."""
    _settle_in(share)
    progress = _Sent(connection)
    try:
        with Claim(record.store, progress) as claim:
            while True:
                connection.send(("free",))
                if (index := connection.recv()) is None:
                    return
                outcome = _compute(record, record.plan.chunks[index], policy, overwrite, claim)
                connection.send(("did", replace(outcome, errors=tuple(map(_portable, outcome.errors)))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # who started this is gone
    except Exception as error:  # the border where a worker's failure becomes its starter's
        connection.send(("fatal", _portable(error)))


def _compute(record: Record, chunk: Chunk, policy: Policy, overwrite: bool, claim: Claim) -> Outcome:
    committed = chunks.committed(record, [chunk], overwrite=overwrite)
    if committed:
        return chunks.reuse(record, committed, claim)
    return chunks.compute(record, chunks.solver(record), [chunk], policy, overwrite=overwrite, progress=claim)


def _settle_in(share: Share) -> None:
    if hasattr(os, "setsid"):
        # A terminal's Ctrl-C goes to who started this, which passes it on once.
        os.setsid()
    interrupts.install()
    if share.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.gpu
    if hasattr(os, "sched_setaffinity"):
        # XLA makes as many threads as there are cores to run on.
        os.sched_setaffinity(0, share.cores)
    threading.Thread(target=_end_with_parent, daemon=True, name="lanewise-parent").start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _portable(error: Exception) -> Exception:
    """An error that another process can read."""
    try:
        same: Exception = pickle.loads(pickle.dumps(error))
        return same
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may be set to, one for each GPU that JAX could use."""
    if not any(importlib.util.find_spec(name) for name in _PLUGINS):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one.strip() for one in visible.split(",") if one.strip()]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        query = [program, "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()
