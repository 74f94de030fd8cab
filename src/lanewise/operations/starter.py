"""A first manifest: from the flags of a command line, with comments from the schemas."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path as File
from typing import Any

from lanewise.errors import UsageError
from lanewise.manifest import document, registry, schema
from lanewise.manifest.document import Document, Path

# What a first campaign runs on if no config is named: one galaxy at S/N 100, and priors on g that the data outweigh.
SCENE: dict[str, Any] = {
    "image": {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"type": "Gaussian", "sigma": 1.2e-3}},
    "psf": {"type": "Gaussian", "sigma": 0.382},
    "gal": {
        "type": "Exponential",
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1},
        "shear": {
            "type": "G1G2",
            "g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
            "g2": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        },
    },
    "inference": {"method": "auto", "nuts_config": {"samples": 500, "chains": 4}},
}
_COMMENT_COLUMN = 48
# Keys that only older configs carry are no part of a new one.
_OLD = ("Accepted for compatibility", "Older form")
# `lanewise extend` writes it.
_NOT_BY_HAND = {"extensions"}


@dataclass(frozen=True)
class ShearFlags:
    """What the command line says of a shear campaign; None where it says nothing.

    Attributes:
        config: path or URL; without it the campaign gets a scene of its own.
        shear_grid: g1 values [reduced shear]; without them the campaign has one shear, (g1_true, g2_true).
    """

    config: str | None = None
    shear_grid: Sequence[str] | None = None
    g1_true: float | None = None
    g2_true: float | None = None
    paired: bool | None = None
    n_realizations: int | None = None
    base_seed: int | None = None
    batch_size: int | None = None
    level: str | None = None
    max_abs_m: float | None = None
    output_dir: str | None = None
    name: str | None = None


def shear(flags: ShearFlags) -> Document:
    """The manifest that the flags describe; a complaint about a value names its flag.

    Raises:
        UsageError: a flag is no number, or two exclude each other.
    """
    if flags.shear_grid and flags.g1_true is not None:
        raise UsageError("--g1-true is the one shear of a campaign without --shear-grid; give one of the two")
    doc = _new("shear", flags.name, flags.output_dir)
    doc = doc.override(("config",), flags.config or SCENE, "--config" if flags.config else doc.source)
    grid = _numbers("--shear-grid", flags.shear_grid) if flags.shear_grid else [_or(flags.g1_true, 0.0)]
    return _given(
        doc,
        (
            (("shear", "grid"), grid, "--shear-grid" if flags.shear_grid else "--g1-true"),
            (("shear", "g2"), _or(flags.g2_true, 0.0), "--g2-true"),
            (("shear", "paired"), flags.paired, "--paired"),
            (("realizations", "count"), _or(flags.n_realizations, 1), "--n-realizations"),
            (("realizations", "base_seed"), _or(flags.base_seed, 42), "--base-seed"),
            (("batch", "size"), _or(flags.batch_size, 1), "--batch-size"),
            (("acceptance", "level"), flags.level, "--level"),
            (("acceptance", "max_abs_m"), flags.max_abs_m, "--max-abs-m"),
        ),
    )


@dataclass(frozen=True)
class CalibrationFlags:
    """What the command line says of a calibration campaign; None where it says nothing."""

    config: str | None = None
    n_realizations: int | None = None
    base_seed: int | None = None
    batch_size: int | None = None
    output_dir: str | None = None
    name: str | None = None


def calibration(flags: CalibrationFlags) -> Document:
    """The manifest that the flags describe; a complaint about a value names its flag."""
    doc = _new("calibration", flags.name, flags.output_dir)
    doc = doc.override(("config",), flags.config or SCENE, "--config" if flags.config else doc.source)
    return _given(
        doc,
        (
            (("realizations", "count"), _or(flags.n_realizations, 256), "--n-realizations"),
            (("realizations", "base_seed"), _or(flags.base_seed, 42), "--base-seed"),
            (("batch", "size"), _or(flags.batch_size, 64), "--batch-size"),
        ),
    )


@dataclass(frozen=True)
class HeterodyneFlags:
    """What the command line says of a heterodyne campaign; None where it says nothing.

    Attributes:
        config: path or URL; without it every default of a fit.
        data: paths, patterns or URLs.
        sweep: `path=value,value,…` per swept key of the config; every combination is fitted.
    """

    data: Sequence[str]
    config: str | None = None
    method: str | None = None
    sweep: Sequence[str] | None = None
    batch_size: int | None = None
    output_dir: str | None = None
    name: str | None = None


def heterodyne(flags: HeterodyneFlags) -> Document:
    """The manifest that the flags describe; a complaint about a value names its flag.

    Raises:
        UsageError: there is no such method, or a sweep is not of the form `path=value,value`.
    """
    if flags.method not in {None, "nlsq"}:
        raise UsageError(f"--method {flags.method}: expected nlsq; consensus Monte Carlo is not built yet")
    # Configs that are run one after the other have results of their own.
    named_after = flags.output_dir or os.path.splitext(flags.config or "")[0]
    doc = _new("heterodyne", flags.name or _as_name(named_after), flags.output_dir)
    config: Any = flags.config or {"data": {"phi": "all"}}
    return _given(
        doc,
        (
            (("config",), config, "--config" if flags.config else doc.source),
            (("inputs",), list(flags.data), "--data"),
            (("sweep",), {"grid": _swept(flags.sweep)} if flags.sweep else None, "--sweep"),
            (("batch", "size"), flags.batch_size, "--batch-size"),
        ),
    )


def _swept(pairs: Sequence[str]) -> dict[str, list[Any]]:
    found = {}
    for pair in pairs:
        path, sign, values = pair.partition("=")
        if not sign or not path or not values:
            raise UsageError(f"--sweep {pair}: expected path=value,value,…, e.g. data.start_frame=100,500,1000")
        found[path] = document.parse(f"[{values}]", f"--sweep {path}").value
    return found


def text(doc: Document, target: str | None = None) -> str:
    """The manifest as YAML, each key with what its schema says of it.

    Args:
        target: the file that it is written to; paths in the manifest are relative to it.
    """
    value = dict(doc.value)
    if isinstance(value["config"], str) and target:
        value["config"] = _relative(value["config"], target)
    if "inputs" in value and target:
        value["inputs"] = [_relative(path, target) for path in value["inputs"]]
    lines = [
        f"# yaml-language-server: $schema={_schema_path(target)}",
        "# `lanewise run` on this file carries it out; `lanewise plan --explain` shows every setting there is.",
    ]
    for key, part in schema.load("manifest")["properties"].items():
        if key not in value:
            continue
        if isinstance(value[key], dict):
            lines += ["", f"# {_first_sentence(part)}", f"{key}:"]
            lines += _block(value[key], *_branch(key, part, doc), 1)
        else:
            lines += _aligned([(f"{key}: {document.flow(value[key])}", _first_sentence(part))])
    return "\n".join(lines) + "\n"


def _branch(key: str, part: dict[str, Any], doc: Document) -> tuple[dict[str, Any], str]:
    """A key's schema, and the name of the schema that it stands in."""
    if key == "config":
        name = registry.config_schema(doc.value["kind"])
        return schema.load(name), name
    return part, "manifest"


def _block(value: Mapping[str, Any], branch: Mapping[str, Any], name: str, depth: int) -> list[str]:
    rows: list[tuple[str, str]] = []
    indent = "  " * depth
    for key, part in branch.get("properties", {}).items():
        below = schema.resolved(part, name)
        comment = _first_sentence(below)
        if isinstance(value.get(key), dict) and "properties" in below:
            rows.append((f"{indent}{key}:", comment))
            rows += [(line, "") for line in _block(value[key], below, name, depth + 1)]
        elif key in value:
            rows.append((f"{indent}{key}: {document.flow(value[key])}", comment))
        elif "default" in below and key not in _NOT_BY_HAND and not comment.startswith(_OLD):
            rows.append((f"{indent}# {key}: {document.flow(below['default'])}", comment))
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Comments in one column, further right only where a key is long."""
    column = min(_COMMENT_COLUMN, max((len(left) for left, comment in rows if comment), default=0))
    return [f"{left:<{column}}  # {comment}" if comment else left for left, comment in rows]


def _first_sentence(part: Mapping[str, Any]) -> str:
    text: str = part.get("description", "")
    return text.split(". ", maxsplit=1)[0].rstrip(".")


def _new(kind: str, name: str | None, output: str | None) -> Document:
    """A manifest with what every kind has."""
    # The campaign is called what its results are called.
    chosen = name or _as_name(output or "") or kind
    source = f"lanewise {kind}"
    value = {
        "apiVersion": "lanewise/v1",
        "kind": kind,
        "name": chosen,
        "output": {"url": output or f"results/{chosen}", "layout": "directories"},
    }
    return Document(source, value, origins={("name",): "--name", ("output", "url"): "--output-dir"})


def _as_name(path: str) -> str:
    """The last part of a path as far as a name allows."""
    return re.sub(r"[^a-z0-9]+", "-", path.rstrip("/").rpartition("/")[2].lower()).strip("-")[:40].strip("-")


def _given(doc: Document, flags: Sequence[tuple[Path, Any, str]]) -> Document:
    for path, value, flag in flags:
        if value is not None:
            doc = doc.override(path, value, flag)
    return doc


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _numbers(flag: str, texts: Sequence[str]) -> list[float]:
    """Numbers that were given one by one, or several in one text."""
    return list(_each_number(flag, texts))


def _each_number(flag: str, texts: Sequence[str]) -> Iterator[float]:
    for one in re.split(r"[\s,]+", " ".join(texts).strip()):
        try:
            yield float(one)
        except ValueError:
            raise UsageError(f"{flag}: expected numbers, got '{one}'") from None


def _relative(path: str, target: str) -> str:
    """A local path as the file at `target` would name it."""
    if "://" in path or "://" in target or os.path.isabs(path):
        return path
    return File(os.path.relpath(path, os.path.dirname(target) or ".")).as_posix()


def _schema_path(target: str | None) -> str:
    """Where an editor finds the schema: relative if it stands in the same project, else in the installed package."""
    path = File(str(files("lanewise").joinpath("schemas", "manifest.schema.json"))).resolve()
    if target and "://" not in target:
        folder = File(target).resolve().parent
        project = next((one for one in (folder, *folder.parents) if (one / "pyproject.toml").exists()), None)
        if project and path.is_relative_to(project):
            return File(os.path.relpath(path, folder)).as_posix()
    return path.as_uri()
