"""The manifest as frozen types; schemas/manifest.schema.json describes each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Protocol, Self

from lanewise.manifest.document import Document
from lanewise.manifest.ranges import Range


@dataclass(frozen=True)
class Realizations:
    """Number of realizations (or pairs) per shear point, and the seed of the first.

    Attributes:
        extensions: further realizations, added by `lanewise extend`. Their seeds follow the last one, and each
            extension starts a new chunk, so that the existing realizations do not change.
    """

    count: int = 1
    base_seed: int = 42
    extensions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Kept:
    """Chunks that were committed before `lanewise rechunk` changed the size of the others.

    Attributes:
        below: the indices of all chunks of that time are below this one.
        ranges: those that were committed, ascending.
    """

    below: int = 0
    ranges: tuple[Range, ...] = ()

    @property
    def content(self) -> dict[str, Any]:
        """As the manifest says it; a range is [first chunk, first realization, realizations, size]."""
        return {"below": self.below, "ranges": [list(astuple(one)) for one in self.ranges]}


@dataclass(frozen=True)
class Batch:
    """`size`: realizations per chunk; `width`: lanes in flight; `index`: default for the chunk to run."""

    size: int = 1
    width: int = 16
    index: int | None = None
    kept: Kept = Kept()


@dataclass(frozen=True)
class SiteConvergence:
    """Thresholds of one site; None: that of every latent."""

    rhat_max: float | None = None
    ess_min: float | None = None


@dataclass(frozen=True)
class Convergence:
    """Thresholds of a converged sampled realization.

    Attributes:
        misfit_p_min: smallest p-value of a fit that describes its data; None: the family's default.
        sites: thresholds of single sites by name.
    """

    rhat_max: float = 1.05
    ess_min: float = 100
    divergence_frac_max: float = 0.01
    bfmi_min: float = 0.3
    misfit_p_min: float | None = None
    sites: tuple[tuple[str, SiteConvergence], ...] = ()

    def rhat_max_of(self, latent: str) -> float:
        """Largest R̂ of a latent, such as `theta[school=2]`, an element of the site `theta`."""
        own = self._own(latent).rhat_max
        return self.rhat_max if own is None else own

    def ess_min_of(self, latent: str) -> float:
        """Smallest effective sample size of a latent."""
        own = self._own(latent).ess_min
        return self.ess_min if own is None else own

    def _own(self, latent: str) -> SiteConvergence:
        return dict(self.sites).get(latent.partition("[")[0], SiteConvergence())

    @property
    def content(self) -> Mapping[str, Any]:
        """Every threshold, for identities; optional ones only where they are set: other campaigns keep theirs."""
        every = {name: value for name, value in vars(self).items() if name != "sites" and value is not None}
        return {**every, "sites": {name: vars(one) for name, one in self.sites}} if self.sites else every


@dataclass(frozen=True)
class Acceptance:
    """Acceptance criteria of the verdict; see `families.shear.statistics.criteria`."""

    estimator: str = "posterior"
    level: str | None = None
    requirement: str | None = None
    max_abs_m: float | None = None
    max_abs_c: float | None = None
    max_excluded_frac: float = 0.05
    rank_p_min: float | None = None
    coverage_margin: float | None = None


@dataclass(frozen=True)
class Output:
    """`url`: local path or fsspec URL of the results; `layout`: `directories` or `packed`."""

    url: str
    layout: str = "directories"


@dataclass(frozen=True)
class Resources:
    """Resources of one chunk."""

    device: str = "auto"
    gpus: int = 1
    cpus: int = 4
    memory: str = "16Gi"


@dataclass(frozen=True)
class Rung:
    """One change of a config's method and settings, for a realization that did not converge.

    Attributes:
        change: the change in words, as attempts record it.
        times: factors of settings.
        values: minimum values of settings.
        method: another method, with its settings in the config.
    """

    change: str
    times: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    method: str | None = None


class Config(Protocol):
    """A family's parsed config."""

    def __hash__(self) -> int:
        """Hash: equal configs share compiled programs."""

    @property
    def content(self) -> Mapping[str, Any]:
        """Normal form with all defaults filled in, JSON-ready; part of the identities."""

    @property
    def method(self) -> str:
        """The inference method's name."""

    @property
    def precision(self) -> str:
        """Precision of JAX: `float32` or `float64`."""

    def climbed(self, rung: Rung) -> Self:
        """A copy with a rung's change of the method or its settings."""


@dataclass(frozen=True)
class Manifest:
    """A validated manifest with its config.

    Attributes:
        extent: what the campaign varies, as its family reads it: true shears, or data sets and a sweep.
        source: the file or URL that it was read from.
        content: the manifest with overrides and inlined config; it reproduces the campaign.
        document: the manifest with its lines, for later complaints.
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
    """A copy with another output URL."""
    content = {**manifest.content, "output": {**manifest.content["output"], "url": url}}
    return replace(manifest, output=replace(manifest.output, url=url), content=content)
