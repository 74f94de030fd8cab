"""The manifest as frozen types; what each key means is written in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from lanewise.manifest.document import Document


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


@dataclass(frozen=True)
class Rung:
    """One change of a config's method and settings, for a realization that did not converge.

    Attributes:
        change: in words, as attempts record it.
        times: settings that are multiplied.
        values: settings that are raised to this value.
        method: another method, with the settings that the config has for it.
    """

    change: str
    times: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    method: str | None = None


class Config(Protocol):
    """A family's parsed config."""

    def __hash__(self) -> int:
        """Configs that are equal share their compiled programs."""

    @property
    def content(self) -> Mapping[str, Any]:
        """Its normal form, part of identities: every setting with its default filled in, JSON-ready."""

    @property
    def method(self) -> str:
        """The inference method's name."""

    @property
    def precision(self) -> str:
        """`float32` or `float64`, in which JAX computes."""

    def climbed(self, rung: Rung) -> Self:
        """With a rung's change of the method and its settings."""


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
    config: Config
    extent: object
    realizations: Realizations
    batch: Batch
    convergence: Convergence
    acceptance: Acceptance
    output: Output
    resources: Resources
    source: str
    content: Mapping[str, Any] = field(repr=False)
    document: Document = field(repr=False, compare=False)


def with_output(manifest: Manifest, url: str) -> Manifest:
    """The same campaign, written elsewhere."""
    content = {**manifest.content, "output": {**manifest.content["output"], "url": url}}
    return replace(manifest, output=replace(manifest.output, url=url), content=content)
