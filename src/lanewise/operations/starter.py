"""A first manifest: functions for the families' starters, and its text with comments from the schemas."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path as File
from typing import Any

from lanewise.errors import UsageError
from lanewise.manifest import registry, schema, yaml_text
from lanewise.manifest.document import Document, Path

_COMMENT_COLUMN = 48
# Descriptions of keys that only older configs use; a new config does not show them.
_OLD = ("Accepted for compatibility", "Older form")
# Keys that `lanewise extend` writes.
_NOT_BY_HAND = {"extensions"}


def new(kind: str, name: str | None, output: str | None) -> Document:
    """A manifest with the keys of every kind."""
    # By default, the campaign is named after the last part of its output URL.
    chosen = name or as_name(output or "") or kind
    source = f"lanewise {kind}"
    value = {
        "apiVersion": "lanewise/v1",
        "kind": kind,
        "name": chosen,
        "output": {"url": output or f"results/{chosen}", "layout": "directories"},
    }
    return Document(source, value, origins={("name",): "--name", ("output", "url"): "--output-dir"})


def as_name(path: str) -> str:
    """The last part of a path, without the characters that a name does not allow."""
    return re.sub(r"[^a-z0-9]+", "-", path.rstrip("/").rpartition("/")[2].lower()).strip("-")[:40].strip("-")


def given(doc: Document, flags: Sequence[tuple[Path, Any, str]]) -> Document:
    """The manifest with the values of flags; a complaint about a value names its flag.

    Args:
        flags: path, value and flag; a value of None is not set.
    """
    for path, value, flag in flags:
        if value is not None:
            doc = doc.override(path, value, flag)
    return doc


def numbers(flag: str, texts: Sequence[str]) -> list[float]:
    """The numbers of a flag: one per text, or several separated by spaces or commas.

    Raises:
        UsageError: a text is not a number.
    """
    found = []
    for one in re.split(r"[\s,]+", " ".join(texts).strip()):
        try:
            found.append(float(one))
        except ValueError:
            raise UsageError(f"{flag}: expected numbers, got '{one}'") from None
    return found


def text(doc: Document, target: str | None = None, paths: Sequence[str] = ()) -> str:
    """The manifest as YAML; each key has the first sentence of its description as a comment, and the notes
    stand at the top.

    Args:
        target: file that it is written to; paths in the manifest become relative to it.
        paths: dotted keys with a path, or a list of paths, relative to the working directory.
    """
    value = dict(doc.value)
    if isinstance(value.get("config"), str) and target:
        value["config"] = _relative(value["config"], target)
    for path in paths if target else ():
        value = _with_relative(value, path.split("."), target or "")
    family = registry.family(value["kind"])
    whole = schema.manifest(family.kind, registry.kinds(), family.keys, config_inside=family.config_inside)
    # The schema for editors describes only lanewise's own families.
    known = family.kind in schema.load("manifest")["properties"]["kind"]["enum"]
    lines = [
        *([f"# yaml-language-server: $schema={_schema_path(target)}"] if known else []),
        "# `lanewise run` on this file carries it out; `lanewise plan --explain` shows every setting there is.",
        *(f"# {note}" for note in doc.notes),
    ]
    for key, part in whole["properties"].items():
        if key not in value:
            continue
        if isinstance(value[key], dict):
            lines += ["", f"# {_first_sentence(part)}", f"{key}:"]
            branch, root = (family.config_schema,) * 2 if key == "config" else (part, whole)
            branch = next((one for one in branch.get("anyOf", ()) if "properties" in one), branch)
            lines += _block(value[key], branch, root, 1)
        else:
            lines += _aligned([(f"{key}: {yaml_text.flow(value[key])}", _first_sentence(part))])
    return "\n".join(lines) + "\n"


def _block(value: Mapping[str, Any], branch: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> list[str]:
    rows: list[tuple[str, str]] = []
    indent = "  " * depth
    for key, part in branch.get("properties", {}).items():
        below = schema.resolved(part, root)
        comment = _first_sentence(below)
        if isinstance(value.get(key), dict) and "properties" in below:
            rows.append((f"{indent}{key}:", comment))
            rows += [(line, "") for line in _block(value[key], below, root, depth + 1)]
        elif key in value:
            rows.append((f"{indent}{key}: {yaml_text.flow(value[key])}", comment))
        elif "default" in below and key not in _NOT_BY_HAND and not comment.startswith(_OLD):
            rows.append((f"{indent}# {key}: {yaml_text.flow(below['default'])}", comment))
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines with their comments in one column; after a longer key, the comment is further right."""
    column = min(_COMMENT_COLUMN, max((len(left) for left, comment in rows if comment), default=0))
    return [f"{left:<{column}}  # {comment}" if comment else left for left, comment in rows]


def _first_sentence(part: Mapping[str, Any]) -> str:
    text: str = part.get("description", "")
    return text.split(". ", maxsplit=1)[0].rstrip(".")


def _with_relative(value: dict[str, Any], steps: Sequence[str], target: str) -> dict[str, Any]:
    """The mapping with the paths at a dotted key relative to the folder of the file `target`."""
    key, *below = steps
    there = value.get(key)
    if isinstance(there, dict):
        return {**value, key: _with_relative(there, below, target)}
    if isinstance(there, list):
        return {**value, key: [_relative(path, target) for path in there]}
    return value if there is None else {**value, key: _relative(there, target)}


def _relative(path: str, target: str) -> str:
    """A local path relative to the folder of the file `target`."""
    if "://" in path or "://" in target or os.path.isabs(path):
        return path
    return File(os.path.relpath(path, os.path.dirname(target) or ".")).as_posix()


def _schema_path(target: str | None) -> str:
    """Path of the schema for editors: relative within the same project, otherwise that of the installed package."""
    path = File(str(files("lanewise").joinpath("schemas", "manifest.schema.json"))).resolve()
    if target and "://" not in target:
        folder = File(target).resolve().parent
        project = next((one for one in (folder, *folder.parents) if (one / "pyproject.toml").exists()), None)
        if project and path.is_relative_to(project):
            return File(os.path.relpath(path, folder)).as_posix()
    return path.as_uri()
