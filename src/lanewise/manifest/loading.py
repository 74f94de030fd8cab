"""The manifest: what a person writes, read into frozen types.

`load` reads, overrides (`--set`), validates and resolves a manifest without importing JAX; every complaint about
manifest and config comes at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import fsspec

from lanewise.errors import Complaint, ManifestError, UsageError
from lanewise.manifest import document, registry, schema, typed
from lanewise.manifest.document import Document
from lanewise.storage.store import beside


@dataclass(frozen=True)
class Realizations:
    """Realizations (or pairs) per shear point, and the seed of the first.

    Attributes:
        extensions: more of them, as `lanewise extend` added them: seeds go on after the last, chunks begin anew, so
            that nothing before an extension changes.
    """

    count: int = 1
    base_seed: int = 42
    extensions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """`size` realizations per chunk; `width` lanes in flight; `index`, the chunk to run if nobody else says."""

    size: int = 1
    width: int = 16
    index: int | None = None


@dataclass(frozen=True)
class Convergence:
    """Thresholds of a converged sampled realization."""

    rhat_max: float = 1.05
    ess_min: float = 100
    divergence_frac_max: float = 0.01
    bfmi_min: float = 0.3


@dataclass(frozen=True)
class Acceptance:
    """What the campaign must show; see `aggregate.criteria`."""

    level: str | None = None
    requirement: str | None = None
    max_abs_m: float | None = None
    max_abs_c: float | None = None
    max_excluded_frac: float = 0.05
    rank_p_min: float | None = None


@dataclass(frozen=True)
class Output:
    """Where results go: a local path or fsspec URL, and `directories` or `packed`."""

    url: str
    layout: str = "directories"


@dataclass(frozen=True)
class Resources:
    """What one chunk needs of its machine."""

    device: str = "auto"
    gpus: int = 1
    cpus: int = 4
    memory: str = "16Gi"


_INTO_CONFIG = "config."
# What a machine or a cluster may say better than the manifest; nothing that changes a number.
ENVIRONMENT = {
    "LANEWISE_OUTPUT_URL": "output.url",
    "LANEWISE_DEVICE": "resources.device",
    "LANEWISE_CPUS": "resources.cpus",
    "LANEWISE_MEMORY": "resources.memory",
}


class Config(Protocol):
    """A family's parsed config; `content` is its normal form, part of identities.

    One whose lanes the engine runs has `stages`, the methods that run with their settings, and an `inference` with
    `precision`, `rng_seed` and the settings of `auto` too.
    """

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting with its default filled in, JSON-ready."""
        ...

    @property
    def method(self) -> str:
        """The inference method's name."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of a config that is valid: keys without effect, a degenerate posterior."""
        ...


@dataclass(frozen=True)
class Manifest:
    """A validated manifest with its config.

    Attributes:
        extent: what the campaign runs over, as its family reads it: true shears, or data sets and a sweep.
        source: the file or URL it came from.
        content: the manifest as it was read, with overrides applied and the config inlined; it reproduces the campaign.
        document: the manifest with its lines, for what is found wrong with it later.
    """

    kind: str
    name: str
    config: Any
    extent: Any
    realizations: Realizations
    batch: Batch
    convergence: Convergence
    acceptance: Acceptance
    output: Output
    resources: Resources
    source: str
    content: Mapping[str, Any] = field(repr=False)
    document: Document = field(repr=False, compare=False)


def load(source: str | Document, overrides: Sequence[str] = ()) -> Manifest:
    """Read and validate a manifest.

    Args:
        source: path or fsspec URL of the YAML file, or the manifest itself.
        overrides: `path=value` pairs as `--set` takes them; the value is YAML.

    Raises:
        ManifestError: with every complaint about manifest and config.
        UsageError: an override is not of the form `path=value`.
    """
    doc, config_doc, complaints = documents(source, overrides)
    value = doc.value if isinstance(doc.value, dict) else {}
    family = registry.family(value["kind"]) if str(value.get("kind")) in registry.FAMILIES else None
    unsound = schema.complaints(doc, "manifest")
    if family is not None and not unsound:
        unsound += family.check_extent(doc)
    if family is not None and config_doc is not None:
        complaints += family.check_config(config_doc)
    complaints += unsound
    if complaints or config_doc is None or family is None:
        raise ManifestError(complaints)
    resolved, config = family.resolve(doc), family.resolve_config(config_doc)
    loaded = Manifest(
        kind=value["kind"],
        name=value["name"],
        config=family.parse_config(config),
        extent=family.parse_extent(resolved),
        realizations=_realizations(value.get("realizations", {})),
        batch=typed.build(Batch, value.get("batch", {})),
        convergence=typed.build(Convergence, value.get("convergence", {})),
        acceptance=typed.build(Acceptance, value.get("acceptance", {})),
        output=typed.build(Output, value["output"]),
        resources=typed.build(Resources, value.get("resources", {})),
        source=doc.source,
        content={**resolved, "config": config},
        document=doc,
    )
    if complaints := [doc.complaint(path, message) for path, message in family.check_campaign(loaded)]:
        raise ManifestError(complaints)
    return loaded


def documents(
    source: str | Document, overrides: Sequence[str] = ()
) -> tuple[Document, Document | None, list[Complaint]]:
    """The manifest and its config as they are read, with what the environment and the command line set in them.

    Returns:
        Manifest, config (None if the manifest names none that can be read), and why not.
    """
    doc = document.parse(_read(source), source) if isinstance(source, str) else source
    for variable, dotted in ENVIRONMENT.items():
        if os.environ.get(variable):
            doc = _override(doc, f"{dotted}={os.environ[variable]}", variable)
    named = isinstance(doc.value, dict) and isinstance(doc.value.get("config"), str)
    # Where the manifest names its config, `--set config.…` reaches into the file that it names.
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


def with_output(manifest: Manifest, url: str) -> Manifest:
    """The same campaign, written elsewhere."""
    content = {**manifest.content, "output": {**manifest.content["output"], "url": url}}
    return replace(manifest, output=replace(manifest.output, url=url), content=content)


def _read(source: str) -> str:
    try:
        with fsspec.open(source, "r", encoding="utf-8") as stream:
            text: str = stream.read()
            return text
    except FileNotFoundError:
        raise ManifestError([Complaint(source, 0, "", "no such file; check the path")]) from None
    except IsADirectoryError:
        raise ManifestError([Complaint(source, 0, "", "expected a YAML file, got a directory")]) from None
    except UnicodeDecodeError as error:
        raise ManifestError([Complaint(source, 0, "", f"expected UTF-8 text, got {error.reason}")]) from None
    except (OSError, ValueError, ImportError) as error:
        raise ManifestError([Complaint(source, 0, "", f"cannot be read: {error}")]) from None


def _override(doc: Document, pair: str, origin: str) -> Document:
    """Apply one `path=value`; the value is YAML."""
    dotted, sign, text = pair.partition("=")
    if not sign or not dotted:
        raise UsageError(f"--set {pair}: expected path=value, e.g. --set batch.size=8")
    return doc.override(tuple(dotted.split(".")), document.parse(text or "null", f"{origin} {dotted}").value, origin)


def _config(doc: Document) -> Document:
    """The config's own document: inlined, or read from a path relative to the manifest."""
    named = doc.value["config"]
    if isinstance(named, dict):
        return doc.part("config")
    named = beside(doc.source, named)
    try:
        return document.parse(_read(named), named)
    except ManifestError as error:
        if any(c.line for c in error.complaints):
            raise
        reason = error.complaints[0].message
        raise ManifestError([doc.complaint(("config",), f"{named}: {reason}")]) from None


def _realizations(value: Mapping[str, Any]) -> Realizations:
    return typed.build(Realizations, {**value, "extensions": tuple(int(n) for n in value.get("extensions", ()))})
