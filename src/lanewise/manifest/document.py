"""Documents that know the line of each value, so that each complaint can name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lanewise.errors import Complaint

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed YAML document.

    Attributes:
        source: name for complaints: the file or URL as the user wrote it.
        value: plain Python values.
        lines: 1-based line of every path in the document.
        origins: origin of every path that was overridden: `--set`, or the name of an environment variable.
        prefix: path of the document in the one that it is part of.
        notes: what its reader should know of how it was made, one sentence each.
    """

    source: str
    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    origins: Mapping[Path, str] = field(default_factory=dict)
    prefix: Path = ()
    notes: tuple[str, ...] = ()

    def at(self, path: Path) -> Any:
        """The value at a path.

        Raises:
            KeyError, IndexError: the path does not exist.
        """
        value = self.value
        for step in path:
            value = value[step]
        return value

    def origin(self, path: Path) -> tuple[str, int]:
        """Source and line of the value at `path` or its nearest ancestor; (origin, 0) if it was overridden."""
        if path not in self.lines:
            for known, name in self.origins.items():
                if known[: len(path)] == path:
                    return name, 0
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]], 0
            if path[:end] in self.lines:
                return self.source, self.lines[path[:end]]
        return self.source, 0

    def complaint(self, path: Path, message: str, *, unreachable: bool = False) -> Complaint:
        """A complaint about the value at `path`."""
        return Complaint(*self.origin(path), dotted((*self.prefix, *path)), message, unreachable)

    def override(self, path: Path, value: Any, origin: str) -> Document:
        """A copy with another value at `path`; complaints about it name the origin."""

        def below(known: Path) -> bool:
            return known[: len(path)] == path

        lines = {known: line for known, line in self.lines.items() if not below(known)}
        origins = {known: name for known, name in self.origins.items() if not below(known)}
        return replace(self, value=put(self.value, path, value), lines=lines, origins={**origins, path: origin})

    def part(self, key: str) -> Document:
        """The value of the top-level `key` as a document of its own."""
        lines = {path[1:]: line for path, line in self.lines.items() if path[:1] == (key,)}
        origins = {path[1:]: name for path, name in self.origins.items() if path[:1] == (key,)}
        return Document(self.source, self.value[key], lines, origins, (*self.prefix, key))


def dotted(path: Path) -> str:
    """`("shear", "grid", 0)` as `shear.grid[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def put(value: Any, path: Path, leaf: Any) -> Any:
    """A copy of the value with the leaf at the path; missing mappings on the way are made."""
    if not path:
        return leaf
    base = value if isinstance(value, dict) else {}
    return {**base, path[0]: put(base.get(path[0]), path[1:], leaf)}
