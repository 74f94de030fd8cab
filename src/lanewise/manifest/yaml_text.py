"""Read and write YAML documents with the line of every key.

PyYAML follows YAML 1.1: it reads `1e-3` as a string and accepts duplicate keys. This loader reads numbers as in YAML
1.2, refuses duplicate keys, and keeps the line of every key, so that each complaint can name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from lanewise.errors import Complaint, ManifestError
from lanewise.manifest.document import Document, Path, dotted


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of the YAML 1.2 core schema."""


# SafeLoader shares its resolver table with all users of PyYAML: start from an empty table.
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


def parse_all(text: str, source: str) -> list[Document]:
    """Read several YAML documents; empty ones are left out.

    Raises:
        ManifestError: one of them is not YAML, or repeats a key.
    """
    parts = re.split(r"^---.*$", text, flags=re.MULTILINE)
    return [parse(part, source) for part in parts if re.search(r"^[^#\s]", part, re.MULTILINE)]


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
                    f"the key occurs a second time (first in line {lines[here]}); keep one of them",
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
    """Writes multi-line text as a block, no aliases, and quotes around strings that some reader takes for a number or
    a boolean.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_text)
# A campaign may have the name 1e3, which is a number in YAML 1.2 without quotes.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9.]+[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
# Readers of YAML 1.1, such as Kubernetes', take single letters for booleans, and 0o17 for a number; PyYAML does not.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?0o[0-7]+$"), list("-+0"))


def dump(value: Mapping[str, Any]) -> str:
    """YAML that `parse` reads back to the same value; keys keep their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
