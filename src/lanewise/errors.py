"""The exception tree of lanewise, and its exit codes.

| class             | exit | meaning                                                                  |
|-------------------|------|--------------------------------------------------------------------------|
| UsageError        | 64   | the command line asks for something that does not exist                  |
| ManifestError     | 65   | the manifest or the config is invalid; carries every complaint at once   |
| DataError         | 65   | an input file cannot be read as what the config says it is               |
| ResultsDiffer     | 65   | the output holds results of another identity                             |
| NotConverged      | 2    | `lanewise.fit`: some data sets are not ok                                |
| NoResult          | 1    | a run has no result at all: none of its data could be made or read       |
| ChunkImpossible   | 70   | the chunk fails on every machine of this kind                            |
| StorageError      | 74   | storage cannot be reached, read or written                               |
| Damaged           | 74   | a committed file is missing, changed or incomplete                       |
| InputUnreachable  | 74   | an input cannot be reached from here, now; nothing is committed          |
| StorageTimeout    | 75   | storage gave no answer until the deadline                                |
| WorkerLost        | 75   | worker processes died; their chunk is not committed                      |
| Incomplete        | 75   | fewer chunks are committed than the caller requires                      |
| MachineError      | 78   | this machine cannot satisfy the manifest (no GPU where one is required)  |

Codes that are outcomes rather than exceptions: 0 done, 2 not converged (`NOT_CONVERGED`), 3/4/5 a strict verdict,
130 interrupted, 143 terminated. Any other exception gives 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

UNHANDLED = 1
NOT_CONVERGED = 2
INTERRUPTED = 130
_MOST_OF_A_KIND = 20
TERMINATED = 143


class LanewiseError(Exception):
    """Root of the exception tree; the text is for the user."""

    exit_code = UNHANDLED


class UsageError(LanewiseError):
    """The command line asks for something that does not exist."""

    exit_code = 64


@dataclass(frozen=True, order=True)
class Complaint:
    """One error in a manifest or config, with its remedy.

    Attributes:
        source: the file or URL as the user wrote it, or `--set`.
        line: 1-based; 0 if the source has no lines.
        field: dotted path of the key, e.g. `inference.nuts_config.samples`; empty for the whole document.
        message: what was expected, what was got, and the remedy.
        unreachable: whether it is about a file that is not there or cannot be read now; elsewhere or later it may be.
    """

    source: str
    line: int
    field: str
    message: str
    unreachable: bool = False

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ManifestError(LanewiseError):
    """The manifest or config is invalid; `complaints` holds every error, sorted by source and line.

    The text has at most twenty of a kind: complaints of one source that differ only in line and numbers.
    """

    exit_code = 65

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(sorted(set(complaints)))
        super().__init__("\n".join(_shown(self.complaints)))

    @property
    def unreachable(self) -> bool:
        """Whether nothing is known to be wrong but files that cannot be reached from here, now."""
        return all(complaint.unreachable for complaint in self.complaints)


def _shown(complaints: Sequence[Complaint]) -> list[str]:
    kinds: dict[tuple[str, str], list[Complaint]] = {}
    for one in complaints:
        kinds.setdefault((one.source, re.sub(r"[\d.e+-]+", "…", f"{one.field}: {one.message}")), []).append(one)
    told = sorted(one for kind in kinds.values() for one in kind[:_MOST_OF_A_KIND])
    more = [
        f"{source}: … and {len(kind) - _MOST_OF_A_KIND} more like {kind[0]}"
        for (source, _), kind in kinds.items()
        if len(kind) > _MOST_OF_A_KIND
    ]
    return [*map(str, told), *more]


class DataError(LanewiseError):
    """An input file cannot be read as what the config says it is; the text begins with the file."""

    exit_code = 65


class NoResult(LanewiseError):
    """A run has no result at all, because none of its data could be made or read; the text says why."""


class NotConverged(LanewiseError):
    """Some data sets of `lanewise.fit` are not ok; the text names the first ones with their reasons."""

    exit_code = NOT_CONVERGED


class ResultsDiffer(LanewiseError):
    """The output holds results of another identity; they are neither reused nor overwritten."""

    exit_code = 65


class WorkerLost(LanewiseError):
    """Worker processes died, more often than the chunk is taken up again; it is not committed."""

    exit_code = 75


class ChunkImpossible(LanewiseError):
    """This chunk fails on every machine of this kind; a retry cannot help."""

    exit_code = 70


class StorageError(LanewiseError):
    """Storage cannot be reached, read or written."""

    exit_code = 74


class StorageTimeout(StorageError):
    """Storage gave no answer until the deadline; a later try may succeed."""

    exit_code = 75


class Damaged(StorageError):
    """A committed file is missing, changed or incomplete; the text begins with the file."""


class ConditionsUnsupported(StorageError):
    """The store has no conditional writes."""


class InputUnreachable(LanewiseError):
    """An input cannot be reached from here, now; its chunk is not committed, and a later run computes it."""

    exit_code = 74


class Incomplete(LanewiseError):
    """Fewer chunks are committed than the caller requires."""

    exit_code = 75


class MachineError(LanewiseError):
    """This machine cannot satisfy the manifest; another machine may."""

    exit_code = 78
