"""The one exception tree, and the exit codes it maps to.

| class             | exit | meaning                                                                  |
|-------------------|------|--------------------------------------------------------------------------|
| UsageError        | 64   | the command line asks for something that does not exist                  |
| ManifestError     | 65   | the manifest or the config is invalid; carries every complaint at once   |
| DataError         | 65   | an input file cannot be read as what the config says it is               |
| ResultsDiffer     | 65   | the output holds results of another identity                             |
| WorkerLost        | 1    | a worker process ended without a word                                    |
| ChunkImpossible   | 70   | this chunk will always fail                                              |
| StorageError      | 74   | storage cannot be reached, read or written                               |
| Damaged           | 74   | what is committed is missing, changed or torn                            |
| InputUnreachable  | 74   | storage does not give a data file of a task now                          |
| StorageTimeout    | 75   | storage gave no answer until our deadline                                |
| Incomplete        | 75   | not all chunks are committed yet, and the caller asked for more          |
| MachineError      | 78   | this machine cannot satisfy the manifest (no GPU where one is required)  |

Codes that are outcomes rather than exceptions: 0 done, 2 not converged (`NOT_CONVERGED`), 3/4/5 a strict verdict,
130 interrupted, 143 terminated. Anything unforeseen is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNHANDLED = 1
NOT_CONVERGED = 2
INTERRUPTED = 130
TERMINATED = 143


class LanewiseError(Exception):
    """Root of everything lanewise raises on purpose; its text is written for the user."""

    exit_code = UNHANDLED


class UsageError(LanewiseError):
    """The command line asks for something that does not exist."""

    exit_code = 64


@dataclass(frozen=True, order=True)
class Complaint:
    """One thing that is wrong with a manifest or config, and what to do about it.

    Attributes:
        source: the file or URL as the user named it, or `--set`.
        line: 1-based; 0 where the source has no lines.
        field: dotted path of the key, e.g. `inference.nuts_config.samples`; empty for the whole document.
        message: expectation, what was got, remedy.
    """

    source: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ManifestError(LanewiseError):
    """The manifest or config is invalid; `complaints` holds every reason, sorted by source and line."""

    exit_code = 65

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(sorted(set(complaints)))
        super().__init__("\n".join(str(c) for c in self.complaints))


class DataError(LanewiseError):
    """An input file cannot be read as what the config says it is; the text begins with the file."""

    exit_code = 65


class ResultsDiffer(LanewiseError):
    """The output holds results of another identity; they are neither reused nor overwritten in silence."""

    exit_code = 65


class WorkerLost(LanewiseError):
    """A worker process ended without a word; its chunk is not committed."""


class ChunkImpossible(LanewiseError):
    """This chunk will fail on every machine of this kind; another try is no use."""

    exit_code = 70


class StorageError(LanewiseError):
    """Storage cannot be reached, read or written."""

    exit_code = 74


class StorageTimeout(StorageError):
    """Storage gave no answer until our deadline; it may later."""

    exit_code = 75


class Damaged(StorageError):
    """What is committed is missing, changed or torn; the text begins with the file."""


class ConditionsUnsupported(StorageError):
    """The store says that it cannot write an object only if it does not exist."""


class InputUnreachable(LanewiseError):
    """Storage does not give a data file now: its chunk is not committed, and another run computes it."""

    exit_code = 74


class Incomplete(LanewiseError):
    """Fewer chunks are committed than the caller needs; more may come."""

    exit_code = 75


class MachineError(LanewiseError):
    """This machine cannot satisfy the manifest; another one may."""

    exit_code = 78
