"""Read a manifest into frozen types.

`load` reads, overrides (`--set`), validates and resolves a manifest without importing JAX. It raises all complaints
about manifest and config at once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import fsspec

from lanewise.errors import Complaint, ManifestError, UsageError
from lanewise.manifest import registry, schema, typed, yaml_text
from lanewise.manifest.document import Document, dotted
from lanewise.manifest.locations import beside
from lanewise.manifest.manifest import (
    Acceptance,
    Batch,
    Convergence,
    Kept,
    Manifest,
    Output,
    Realizations,
    Resources,
    SiteConvergence,
)
from lanewise.manifest.ranges import Range

_INTO_CONFIG = "config."
# Keys that a machine or a cluster may set; none of them changes a number.
ENVIRONMENT = {
    "LANEWISE_OUTPUT_URL": "output.url",
    "LANEWISE_DEVICE": "resources.device",
    "LANEWISE_CPUS": "resources.cpus",
    "LANEWISE_MEMORY": "resources.memory",
}


def load(source: str | Document, overrides: Sequence[str] = ()) -> Manifest:
    """Read and validate a manifest.

    Args:
        source: path or fsspec URL of the YAML file, or the manifest itself.
        overrides: `path=value` pairs as `--set` takes them; the value is YAML.

    Raises:
        ManifestError: manifest or config is invalid; holds every complaint.
        UsageError: an override is not of the form `path=value`.
    """
    doc, config_doc, complaints = documents(source, overrides)
    value = doc.value if isinstance(doc.value, dict) else {}
    kind = str(value.get("kind"))
    family = registry.family(kind) if kind in registry.kinds() else None
    inside = family is not None and family.config_inside
    keys = family.keys if family else {}
    unsound = schema.complaints(doc, schema.manifest(kind, registry.kinds(), keys, config_inside=inside))
    if family is not None:
        unsound = [_into_config(one, family.config_schema.get("properties", {}), doc) for one in unsound]
    if family is not None and not unsound:
        unsound += family.check_extent(doc)
    if family is not None and config_doc is not None:
        check = family.check_config or (lambda config: schema.complaints(config, family.config_schema))
        complaints += check(config_doc)
    complaints += unsound
    if complaints or family is None or (config_doc is None and not inside):
        raise ManifestError(complaints)
    resolved = family.resolve(doc)
    config = resolved if config_doc is None else family.resolve_config(config_doc)
    loaded = Manifest(
        kind=value["kind"],
        name=value["name"],
        config=family.parse_config(config),
        extent=family.parse_extent(resolved),
        realizations=typed.build(Realizations, value.get("realizations", {})),
        batch=_batch(value.get("batch", {})),
        convergence=_convergence(value.get("convergence", {})),
        acceptance=typed.build(Acceptance, value.get("acceptance", {})),
        output=typed.build(Output, value["output"]),
        resources=typed.build(Resources, value.get("resources", {})),
        source=doc.source,
        content=resolved if inside else {**resolved, "config": config},
        document=doc,
    )
    if complaints := [doc.complaint(path, message) for path, message in family.check_campaign(loaded)]:
        raise ManifestError(complaints)
    return loaded


def _convergence(value: Mapping[str, Any]) -> Convergence:
    sites = tuple((name, typed.build(SiteConvergence, one)) for name, one in sorted(value.get("sites", {}).items()))
    return typed.build(Convergence, {key: part for key, part in value.items() if key != "sites"}, sites=sites)


def _batch(value: Mapping[str, Any]) -> Batch:
    kept = value.get("kept", {})
    ranges = tuple(Range(*map(int, one)) for one in kept.get("ranges", ()))
    own = {key: part for key, part in value.items() if key != "kept"}
    return typed.build(Batch, own, kept=Kept(int(kept.get("below", 0)), ranges))


def documents(
    source: str | Document, overrides: Sequence[str] = ()
) -> tuple[Document, Document | None, list[Complaint]]:
    """The manifest and its config as read, with the overrides of the environment and the command line.

    Returns:
        Manifest, config (None if it is missing or cannot be read), and the complaints about reading it.
    """
    doc = yaml_text.parse(read(source), source) if isinstance(source, str) else source
    for variable, place in ENVIRONMENT.items():
        if os.environ.get(variable):
            doc = _override(doc, f"{place}={os.environ[variable]}", variable)
    named = isinstance(doc.value, dict) and isinstance(doc.value.get("config"), str)
    # If the config is a file of its own, `--set config.…` changes the content of that file.
    inner = [pair for pair in overrides if named and pair.startswith(_INTO_CONFIG)]
    for pair in overrides:
        doc = doc if pair in inner else _override(doc, pair, "--set")
    if not isinstance(doc.value, dict) or not isinstance(doc.value.get("config"), str | dict):
        return doc, None, []
    try:
        config = _config(doc)
        for pair in inner:
            config = _override(config, pair.removeprefix(_INTO_CONFIG), "--set")
        return doc, config, []
    except ManifestError as error:
        return doc, None, list(error.complaints)


def _into_config(complaint: Complaint, known: Collection[str], doc: Document) -> Complaint:
    """The complaint; for an unknown key of the manifest that belongs into the config, with that as the remedy."""
    if complaint.field not in known or not complaint.message.startswith("unknown key"):
        return complaint
    written = next((dotted(path) for path in doc.origins if path[0] == complaint.field), complaint.field)
    return replace(complaint, field=written, message=f"unknown key; did you mean 'config.{written}'?")


def read(source: str) -> str:
    """The text of a manifest, a config, or another file of the user.

    Raises:
        ManifestError: it is not there (`unreachable`), or is no text.
    """
    unreachable = False
    try:
        # Not fsspec for a path: it takes '::' for a chain of file systems.
        opener = fsspec.open if "://" in source else open
        with opener(source, "r", encoding="utf-8") as stream:
            text: str = stream.read()
            return text
    except FileNotFoundError:
        message, unreachable = "no such file; check the path", True
    except IsADirectoryError:
        message = "expected a YAML file, got a directory"
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text, got {error.reason}"
    except (ValueError, ImportError) as error:
        message = f"cannot be read: {error}"
    except Exception as error:  # each storage client has its own error classes
        message, unreachable = f"cannot be read: {error}", True
    raise ManifestError([Complaint(source, 0, "", message, unreachable)])


def _override(doc: Document, pair: str, origin: str) -> Document:
    """Apply one `path=value`; the value is YAML.

    Raises:
        UsageError: the pair has no path or no sign.
    """
    dotted, sign, text = pair.partition("=")
    if not sign or not dotted:
        raise UsageError(f"--set {pair}: expected path=value, e.g. --set batch.size=8")
    return doc.override(tuple(dotted.split(".")), yaml_text.parse(text or "null", f"{origin} {dotted}").value, origin)


def _config(doc: Document) -> Document:
    """The config's document: a part of the manifest, or a file whose path is relative to the manifest."""
    named = doc.value["config"]
    if isinstance(named, dict):
        return doc.part("config")
    named = beside(doc.source, named)
    try:
        return yaml_text.parse(read(named), named)
    except ManifestError as error:
        if any(c.line for c in error.complaints):
            raise
        message = f"{named}: {error.complaints[0].message}"
        raise ManifestError([doc.complaint(("config",), message, unreachable=error.unreachable)]) from None
