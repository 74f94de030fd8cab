"""YAML documents that remember their lines.

PyYAML follows YAML 1.1: it reads `1e-3` as a string and lets a duplicate key win in silence. This loader reads
numbers as YAML 1.2 does, refuses duplicate keys, and keeps the line of every key, so that each complaint can say
where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from lanewise.errors import Complaint, ManifestError

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of the YAML 1.2 core schema."""


# SafeLoader shares its resolver table with every other user of PyYAML: start from an empty one of our own.
_Loader.yaml_implicit_resolvers = {}
_SCALARS = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:merge", r"^(?:<<)$", "<"),
)
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))

# YAML 1.2 has no octal 0777 and no sexagesimal 1:30; int() reads the digits as they stand.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


@dataclass(frozen=True)
class Document:
    """A parsed YAML document.

    Attributes:
        source: what complaints call it: the file or URL as the user named it.
        value: plain Python values.
        lines: 1-based line of every path that stands in the document.
        origins: what set a path that does not: `--set`, or the name of an environment variable.
        prefix: where the document stands in the one it is part of.
    """

    source: str
    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    origins: Mapping[Path, str] = field(default_factory=dict)
    prefix: Path = ()

    def at(self, path: Path) -> Any:
        """The value at a path that is there."""
        value = self.value
        for step in path:
            value = value[step]
        return value

    def origin(self, path: Path) -> tuple[str, int]:
        """Where the value at `path`, or its nearest ancestor, comes from: the source and line, or what set it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]], 0
            if path[:end] in self.lines:
                return self.source, self.lines[path[:end]]
        return self.source, 0

    def complaint(self, path: Path, message: str) -> Complaint:
        """A complaint about the value at `path`."""
        return Complaint(*self.origin(path), dotted((*self.prefix, *path)), message)

    def override(self, path: Path, value: Any, origin: str) -> Document:
        """A copy with another value at `path`; complaints about it name its origin."""

        def below(known: Path) -> bool:
            return known[: len(path)] == path

        lines = {known: line for known, line in self.lines.items() if not below(known)}
        origins = {known: name for known, name in self.origins.items() if not below(known)}
        return replace(self, value=put(self.value, path, value), lines=lines, origins={**origins, path: origin})

    def part(self, key: str) -> Document:
        """The document below the top-level `key`, with its own lines, as if it stood alone."""
        lines = {path[1:]: line for path, line in self.lines.items() if path[:1] == (key,)}
        origins = {path[1:]: name for path, name in self.origins.items() if path[:1] == (key,)}
        return Document(self.source, self.value[key], lines, origins, (*self.prefix, key))


def dotted(path: Path) -> str:
    """`("shear", "grid", 0)` as `shear.grid[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def parse(text: str, source: str) -> Document:
    """Read one YAML document.

    Raises:
        ManifestError: the text is not YAML, holds several documents, or repeats a key.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ManifestError([Complaint(source, 1, "", "expected a mapping of keys, got an empty file")])
        lines: dict[Path, int] = {}
        complaints = list(_walk(node, (), lines, source))
        if complaints:
            raise ManifestError(complaints)
        return Document(source, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise ManifestError([Complaint(source, line, "", _explain(error, text, line))]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError([Complaint(source, 0, "", f"cannot be read as YAML: {error}")]) from None
    finally:
        if loader is not None:
            loader.dispose()


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], source: str) -> Iterator[Complaint]:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            here = (*path, name)
            if here in lines:
                yield Complaint(
                    source,
                    key.start_mark.line + 1,
                    dotted(here),
                    f"the key stands a second time (first in line {lines[here]}); keep one of them",
                )
                continue
            lines[here] = key.start_mark.line + 1
            yield from _walk(value, here, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index), lines, source)


def _explain(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    rows = text.splitlines()
    if 0 < line <= len(rows) and "\t" in rows[line - 1][: len(rows[line - 1]) - len(rows[line - 1].lstrip())]:
        return "expected spaces, got a tab; YAML allows no tabs in the indentation, replace it by spaces"
    return f"cannot be read as YAML: {error.problem or error.context}; check the indentation and the quotes here"


class _Dumper(yaml.SafeDumper):
    """Lines of text as a block, nothing by reference, and quotes around what only YAML 1.1 takes for a string."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_text)
# A campaign may be called 1e3, which is a number in YAML 1.2 where it stands without quotes.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9.]+[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def put(value: Any, path: Path, leaf: Any) -> Any:
    """A copy of the value with the leaf at the path; what is no mapping on the way becomes one."""
    if not path:
        return leaf
    base = value if isinstance(value, dict) else {}
    return {**base, path[0]: put(base.get(path[0]), path[1:], leaf)}


def dump(value: Mapping[str, Any]) -> str:
    """YAML that `parse` reads back to the same value, keys in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


def flow(value: Any) -> str:
    """A value as YAML has it in one line."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
