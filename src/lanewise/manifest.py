"""The manifest: what a person writes, read into frozen types.

`load` reads, overrides (`--set`), validates and resolves a manifest without importing JAX; every complaint about
manifest and config comes at once.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import fsspec

from lanewise import document, problems, schema, typed
from lanewise.document import Document, Path
from lanewise.errors import Complaint, ManifestError, UsageError


@dataclass(frozen=True)
class Shear:
    """True shears of a campaign.

    Attributes:
        points: (g1, g2) per grid point, in the order of the manifest [reduced shear].
        paired: every point is run as +g and −g with one seed.
    """

    points: tuple[tuple[float, float], ...]
    paired: bool = False


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
    """What the campaign must show; see `aggregate.verdict`."""

    level: str | None = None
    max_abs_m: float | None = None
    max_abs_c: float | None = None
    max_excluded_frac: float = 0.05


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
# The plan of a campaign is held in memory, some hundred bytes a realization.
MOST_REALIZATIONS = 10_000_000


class Config(Protocol):
    """A family's parsed config; `content` is its normal form, part of every identity."""

    @property
    def content(self) -> Mapping[str, Any]:
        """Every setting with its default filled in, JSON-ready."""
        ...

    @property
    def method(self) -> str:
        """The inference method's name."""
        ...

    @property
    def settings(self) -> Any:
        """Settings of the method, one of `methods.settings`."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of a config that is valid: keys without effect, a degenerate posterior."""
        ...

    @property
    def inference(self) -> Any:
        """`precision` and `rng_seed` of the inference."""
        ...


@dataclass(frozen=True)
class Manifest:
    """A validated manifest with its config.

    Attributes:
        text: the manifest as it was read, with overrides applied and the config inlined; it reproduces the campaign.
        source: the file or URL it came from.
    """

    kind: str
    name: str
    config: Any
    shear: Shear
    realizations: Realizations
    batch: Batch
    convergence: Convergence
    acceptance: Acceptance
    output: Output
    resources: Resources
    source: str
    content: Mapping[str, Any] = field(repr=False)


def load(source: str, overrides: Sequence[str] = ()) -> Manifest:
    """Read and validate a manifest.

    Args:
        source: path or fsspec URL of the YAML file.
        overrides: `path=value` pairs as `--set` takes them; the value is YAML.

    Raises:
        ManifestError: with every complaint about manifest and config.
        UsageError: an override is not of the form `path=value`.
    """
    doc = document.parse(_read(source), source)
    named = isinstance(doc.value, dict) and isinstance(doc.value.get("config"), str)
    # Where the manifest names its config, `--set config.…` reaches into the file that it names.
    inner = [pair.removeprefix(_INTO_CONFIG) for pair in overrides if named and pair.startswith(_INTO_CONFIG)]
    doc = _override(doc, [pair for pair in overrides if not (named and pair.startswith(_INTO_CONFIG))])
    complaints = schema.complaints(doc, "manifest")
    value = doc.value if isinstance(doc.value, dict) else {}
    if not complaints:
        complaints += _check(doc)
    config_doc = None
    family = None
    if str(value.get("kind")) in problems.FAMILIES and isinstance(value.get("config"), str | dict):
        family = problems.family(value["kind"])
        try:
            config_doc = _override(_config(doc, source), inner)
            complaints += family.check_config(config_doc)
        except ManifestError as error:
            complaints += error.complaints
    if complaints or config_doc is None or family is None:
        raise ManifestError(complaints)
    loaded = Manifest(
        kind=value["kind"],
        name=value["name"],
        config=family.parse_config(config_doc.value),
        shear=_shear(value["shear"]),
        realizations=_realizations(value.get("realizations", {})),
        batch=typed.build(Batch, value.get("batch", {})),
        convergence=typed.build(Convergence, value.get("convergence", {})),
        acceptance=typed.build(Acceptance, value.get("acceptance", {})),
        output=typed.build(Output, value["output"]),
        resources=typed.build(Resources, value.get("resources", {})),
        source=source,
        content={**value, "config": config_doc.value},
    )
    if complaints := [doc.complaint(path, message) for path, message in family.check_campaign(loaded)]:
        raise ManifestError(complaints)
    return loaded


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


def _override(doc: Document, overrides: Sequence[str]) -> Document:
    """Apply `--set` pairs to a copy of the document."""
    value, lines = doc.value, dict(doc.lines)
    for pair in overrides:
        dotted, sign, text = pair.partition("=")
        if not sign or not dotted:
            raise UsageError(f"--set {pair}: expected path=value, e.g. --set batch.size=8")
        path: Path = tuple(dotted.split("."))
        value = _put(value, path, document.parse(text or "null", f"--set {dotted}").value)
        # A complaint about an overridden key must not point into the file.
        lines = {known: line for known, line in lines.items() if known[: len(path)] != path} | {path: 0}
    return replace(doc, value=value, lines=lines)


def _put(value: Any, path: Path, leaf: Any) -> Any:
    if not path:
        return leaf
    base = value if isinstance(value, dict) else {}
    return {**base, path[0]: _put(base.get(path[0]), path[1:], leaf)}


def _config(doc: Document, source: str) -> Document:
    """The config's own document: inlined, or read from a path relative to the manifest."""
    named = doc.value["config"]
    if isinstance(named, dict):
        return doc.part("config")
    if "://" not in named and not os.path.isabs(named):
        base = source.rsplit("/", 1)[0] if "/" in source else "."
        named = f"{base}/{named}"
    try:
        return document.parse(_read(named), named)
    except ManifestError as error:
        if any(c.line for c in error.complaints):
            raise
        reason = error.complaints[0].message
        raise ManifestError([doc.complaint(("config",), f"{named}: {reason}")]) from None


def _check(doc: Document) -> list[Complaint]:
    """What a schema cannot say."""
    found = []
    shear = doc.value["shear"]
    if ("grid" in shear) == ("points" in shear):
        found.append(doc.complaint(("shear",), "expected either 'grid' or 'points'; keep one of them"))
        return found
    if "points" in shear and "g2" in shear:
        found.append(doc.complaint(("shear", "g2"), "points carry their own g2; remove this key"))
    key = "grid" if "grid" in shear else "points"
    parsed = _shear(shear)
    total = len(parsed.points) * int(doc.value.get("realizations", {}).get("count", 1)) * (2 if parsed.paired else 1)
    if total > MOST_REALIZATIONS:
        found.append(
            doc.complaint(
                ("realizations", "count"), f"{total} realizations; a campaign has at most {MOST_REALIZATIONS}"
            )
        )
    seen: dict[tuple[float, float], int] = {}
    for index, (g1, g2) in enumerate(parsed.points):
        path: Path = ("shear", key, index)
        if g1 * g1 + g2 * g2 >= 1:
            found.append(doc.complaint(path, f"expected |g| < 1, got ({g1}, {g2})"))
        if (g1, g2) in seen:
            first = f"{key}[{seen[g1, g2]}]"
            message = f"the shear stands a second time (first at {first}); raise realizations.count instead"
            found.append(doc.complaint(path, message))
        if parsed.paired and (g1, g2) == (0, 0):
            found.append(doc.complaint(path, "a pair needs a nonzero shear: +g and −g are the same here"))
        seen.setdefault((g1, g2), index)
    return found


def _realizations(value: Mapping[str, Any]) -> Realizations:
    return typed.build(Realizations, {**value, "extensions": tuple(int(n) for n in value.get("extensions", ()))})


def _shear(value: Mapping[str, Any]) -> Shear:
    # Adding 0.0 turns −0.0 into 0.0, so that a run id never reads g1_-0.0000.
    g2 = float(value.get("g2", 0.0)) + 0.0
    points = value.get("points") or [(g1, g2) for g1 in value["grid"]]
    return Shear(tuple((float(a) + 0.0, float(b) + 0.0) for a, b in points), value.get("paired", False))
