"""Kernels of a compiled program, counted in its text (`compiled.as_text()`); needs no device.

After XLA's optimisation every instruction outside of fusions that computes or copies is launched on its own: a fusion,
a library call, a sort, a copy. Control flow (`while`, `conditional`, `call`) and what only names memory launch nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (?:\(.*?\)|\S+) (?P<opcode>[a-z][a-z\d-]*)\(")
_CALLED = re.compile(r"(?:to_apply|calls|body|(?:true|false)_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SILENT = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"),
    *("replica-id", "add-dependency", "async-update", "async-done", "copy-done"),
}
# Part of the name that JAX gives to operations of a reverse-mode derivative.
_DERIVATIVE = "transpose(jvp"


@dataclass(frozen=True)
class Loop:
    """A `while` of a program.

    Attributes:
        depth: loops around it.
        trips: how often it runs; None if that depends on the data.
        kernels: launches of one step, with those of loops inside; an inner loop of unknown length counts as one step.
        derivative: whether the step itself, without loops inside, has operations of a gradient.
    """

    depth: int
    trips: int | None
    kernels: int
    derivative: bool


class Program:
    """A compiled program.

    Args:
        text: in XLA's own language, as `compiled.as_text()` gives it.
    """

    def __init__(self, text: str) -> None:
        self._bodies: dict[str, list[str]] = {}
        self._entry = ""
        lines: list[str] = []
        for line in text.splitlines():
            if begun := _COMPUTATION.match(line):
                lines = self._bodies.setdefault(begun["name"], [])
                self._entry = begun["name"] if line.startswith("ENTRY") else self._entry
            elif _INSTRUCTION.match(line):
                lines.append(line)

    @cached_property
    def loops(self) -> list[Loop]:
        """Every loop that is reached from the entry."""
        return list(self._loops(self._entry, 0))

    @property
    def kernels(self) -> int:
        """Launches of the whole program; a loop of unknown length counts as one step."""
        return self._kernels(self._entry)

    def per_gradient(self) -> int:
        """Launches of one step of the innermost loop that takes a gradient: a leapfrog step of a sampler.

        Raises:
            ValueError: no loop takes a gradient.
        """
        found = [loop for loop in self.loops if loop.derivative]
        if not found:
            raise ValueError("no loop of the program takes a gradient")
        return max(found, key=lambda loop: loop.depth).kernels

    def _loops(self, name: str, depth: int) -> Iterator[Loop]:
        for opcode, line in self._instructions(name):
            if opcode == "while":
                body = _called(line)[-1]
                yield Loop(depth, _trips(line), self._kernels(body), self._derives(body))
                yield from self._loops(body, depth + 1)
            elif opcode in {"call", "conditional"}:
                for inner in _called(line):
                    yield from self._loops(inner, depth)

    def _kernels(self, name: str) -> int:
        n = 0
        for opcode, line in self._instructions(name):
            match opcode:
                case "while":
                    n += (_trips(line) or 1) * self._kernels(_called(line)[-1])
                case "call" | "async-start":
                    n += sum(map(self._kernels, _called(line)))
                case "conditional":
                    n += max(map(self._kernels, _called(line)))
                case _:
                    n += opcode not in _SILENT
        return n

    def _derives(self, name: str) -> bool:
        """Whether operations of a gradient are in a computation, or in what it calls, but for its loops."""
        return any(
            _DERIVATIVE in line or any(map(self._derives, _called(line)))
            for opcode, line in self._instructions(name)
            if opcode != "while"
        )

    def _instructions(self, name: str) -> Iterator[tuple[str, str]]:
        for line in self._bodies[name]:
            found = _INSTRUCTION.match(line)
            assert found is not None
            yield found["opcode"], line


def _called(line: str) -> list[str]:
    branches = [name.strip(" %") for group in _BRANCHES.findall(line) for name in group.split(",")]
    return [*branches, *_CALLED.findall(line)]


def _trips(line: str) -> int | None:
    found = _TRIPS.search(line)
    return int(found[1]) if found else None
