"""Writes reference.md from the schemas: `make reference`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanewise.manifest import schema, yaml_text

TARGET = Path(__file__).with_name("reference.md")
_PAGES = {
    "manifest": "The manifest",
    "shear-config": "The config of kinds shear and calibration",
    "heterodyne-config": "The config of kind heterodyne",
}
_HEAD = """# Reference

Every key of the manifest and of the configs, written by `make reference` from [schemas/](../schemas): what editors
complete and what `lanewise validate` checks. `lanewise plan MANIFEST --explain` shows the values that a campaign has,
and where each comes from: command line, environment, file, default, in this order of precedence. From the environment
come `LANEWISE_OUTPUT_URL`, `LANEWISE_DEVICE`, `LANEWISE_CPUS` and `LANEWISE_MEMORY`, and the chunk of a cluster's
array.

A key is shown with its path; **bold** ones must be given. Units stand in [brackets].
"""


def page() -> str:
    """The text of reference.md."""
    parts = [_HEAD]
    for name, title in _PAGES.items():
        content = schema.load(name)
        parts.append(f"\n## {title}\n\n{content['description']}\n\n")
        parts += _sections(content, content, "")
        definitions = content.get("definitions", {})
        priors = {key: part for key, part in definitions.items() if "type" in part.get("properties", {})}
        if priors:
            parts.append(
                "\n### Priors\n\nA number is fixed; one of these mappings, in its place, makes a latent of it.\n\n"
            )
            parts += _table([row for key, part in priors.items() for row in _prior(key, part)])
    return "".join(parts)


def _sections(root: Mapping[str, Any], branch: Mapping[str, Any], path: str) -> Iterator[str]:
    """The keys of a mapping, then the mappings among them as sections of their own."""
    rows, below = [], []
    for key, part in branch["properties"].items():
        resolved = schema.resolved(part, root)
        required = key in branch.get("required", ())
        where = f"{path}.{key}" if path else key
        rows.append((f"**`{where}`**" if required else f"`{where}`", *_described(resolved, root)))
        if "properties" in resolved:
            below.append((where, resolved))
    yield from _table(rows)
    for where, resolved in below:
        yield f"\n### {where}\n\n"
        yield from _sections(root, resolved, where)


def _table(rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield "| key | value | default | |\n|---|---|---|---|\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n"


def _prior(name: str, part: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for key, inner in part["properties"].items():
        if key != "type":
            yield f"`{{type: {name}, {key}}}`", *_described(inner, {})


def _described(part: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[str, str, str]:
    default = f"`{yaml_text.flow(part['default'])}`" if "default" in part else ""
    return _values(part, root), default, part.get("description", "")


def _values(part: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if "enum" in part:
        return ", ".join(f"`{one}`" for one in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    if "anyOf" in part:
        return " or ".join(_values(schema.resolved(one, root), root) for one in part["anyOf"])
    if "title" in part:
        return str(part["title"])
    if part.get("type") == "array":
        items = schema.resolved(part.get("items", {}), root)
        return f"list of {_values(items, root)}"
    return schema.expected(part)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
