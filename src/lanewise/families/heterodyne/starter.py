"""`lanewise init heterodyne` and `lanewise run heterodyne`: a manifest from flags."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from lanewise.errors import UsageError
from lanewise.families.heterodyne.config import Method
from lanewise.manifest import yaml_text
from lanewise.manifest.document import Document
from lanewise.manifest.family import Starter

if TYPE_CHECKING:
    from lanewise.families.heterodyne.old_configs import Converted


def manifest(
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="FILE …", help="Data files: paths, patterns or URLs (HDF5, NPZ)."),
    ] = None,
    old: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="OLD.yaml",
            help="Config of heterodyne, homodyne or xpcsjax to carry over; what has no place here is listed. "
            "Without --data its data file is used.",
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Config of the fit; default: all defaults.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="nlsq: a fit by nonlinear least squares; cmc or both: the fit, and draws of the posterior around it.  "
            "[default: that of the config, else nlsq]",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", metavar="PATH=V,V,…", help="Values of a config key, e.g. fit.seed=0,1,2; repeatable."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Fits per chunk, i.e. per container.")] = None,
    output_dir: Annotated[
        str | None,
        typer.Option("--output-dir", metavar="URL", help="Where results go: a path or URL.  [default: results/NAME]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the campaign.  [default: as --output-dir, else as --config]")
    ] = None,
) -> Document:
    """Two-time correlations (XPCS): fits over files and a sweep."""
    from lanewise.operations import starter

    if method not in {None, *get_args(Method)}:
        raise UsageError(f"--method {method}: expected {', '.join(get_args(Method))}")
    # Name the results after the config, so that a loop over configs keeps the results apart.
    named_after = output_dir or os.path.splitext(config or old or "")[0]
    doc = starter.new("heterodyne", name or starter.as_name(named_after), output_dir)
    chosen: Any = config or {"data": {"phi": "all"}}
    if config and method:
        chosen = _mapping(config)
    files: list[str] = list(data or ())
    if old is not None:
        if config is not None:
            raise UsageError("--from and --config exclude each other")
        converted = _converted(old, files)
        chosen, files = dict(converted.config), list(converted.inputs)
        notes = [f"Carried over from {os.path.basename(old)}. Not carried over, or different here:"]
        doc = replace(doc, notes=(*notes, *(f"- {one}" for one in converted.lost)))
    if method:
        chosen = {**chosen, "method": method}
    if not files:
        raise UsageError("--data: expected a data file, got none; `lanewise simulate heterodyne data` makes one")
    return starter.given(
        doc,
        (
            (("config",), chosen, "--config" if config else "--from" if old else doc.source),
            (("inputs",), files, "--data" if data else "--from"),
            (("sweep",), {"grid": _swept(sweep)} if sweep else None, "--sweep"),
            (("batch", "size"), batch_size, "--batch-size"),
        ),
    )


def _mapping(config: str) -> dict[str, Any]:
    try:
        with open(config, encoding="utf-8") as file:
            value = yaml_text.parse(file.read(), config).value
    except OSError as error:
        raise UsageError(
            f"--config {config}: {error.strerror}; give a file, or 'method' in the config itself"
        ) from None
    if not isinstance(value, dict):
        raise UsageError(f"--config {config}: expected a mapping of settings, got {value!r}")
    return value


def _converted(old: str, data: Sequence[str]) -> Converted:
    from lanewise.families.heterodyne import old_configs

    try:
        with open(old, encoding="utf-8") as file:
            document = yaml_text.parse(file.read(), old)
    except OSError as error:
        raise UsageError(f"--from {old}: {error.strerror}; give the old config") from None
    found = old_configs.convert(document, data)
    for path in () if data else found.inputs:
        if not os.path.exists(path):
            raise UsageError(f"--from {old}: its data file {path} is not there; give the files with --data")
    return found


def _swept(pairs: Sequence[str]) -> dict[str, list[Any]]:
    found = {}
    for pair in pairs:
        path, sign, values = pair.partition("=")
        if not sign or not path or not values:
            raise UsageError(f"--sweep {pair}: expected path=value,value,…, e.g. data.start_frame=100,500,1000")
        found[path] = yaml_text.parse(f"[{values}]", f"--sweep {path}").value
    return found


STARTER = Starter(
    manifest,
    example="lanewise init heterodyne --data data/*.h5 --sweep fit.seed=0,1,2 -o my.yaml",
    several={"--data": lambda word: not word.startswith("-")},
    paths=("inputs",),
    # The published page has 1 for an I/O error.
    single=True,
)
