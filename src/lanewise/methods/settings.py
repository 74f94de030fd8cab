"""Settings of the methods, apart from their code so that a manifest is read without importing JAX."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MapSettings:
    """Settings of `map`.

    Attributes:
        gradient_norm: converged below this; in units of the posterior's width, see `mode.Mode.gradient_norm`.
        max_iterations: second-order steps at the most.
    """

    gradient_norm: float = 1e-3
    max_iterations: int = 100


@dataclass(frozen=True)
class LaplaceSettings:
    """Settings of `laplace`.

    Attributes:
        samples: independent draws per realization.
    """

    samples: int = 2000


@dataclass(frozen=True)
class ViSettings:
    """Settings of `vi`.

    Attributes:
        guide: `full_rank`, a Gaussian with every correlation, or `mean_field`, one without.
        num_steps: of the optimiser.
        learning_rate: of the optimiser (Adam), in units of the posterior's width.
        num_samples: independent draws of the fitted guide.
    """

    guide: str = "full_rank"
    num_steps: int = 5000
    learning_rate: float = 1e-3
    num_samples: int = 1000


@dataclass(frozen=True)
class ImportanceSettings:
    """Settings of `importance`.

    Attributes:
        samples: draws of the proposal, and as many of the posterior, resampled from them.
    """

    samples: int = 2000


@dataclass(frozen=True)
class HmcSettings:
    """Settings of `hmc`.

    Attributes:
        burn_in: transitions per chain that are thrown away; nothing is adapted in them.
        samples: draws kept per chain.
        chains: chains per realization, side by side in one lane.
        leapfrog_steps: of every trajectory.
        step_size: of a leapfrog step, in units of the posterior's width.
        jitter: every trajectory's step size is drawn within this share of `step_size`.
    """

    burn_in: int = 20
    samples: int = 250
    chains: int = 8
    leapfrog_steps: int = 3
    step_size: float = 0.62
    jitter: float = 0.2


@dataclass(frozen=True)
class NutsSettings:
    """Settings of `nuts`.

    Attributes:
        warmup: adaptation steps per chain.
        samples: draws kept per chain.
        chains: chains per realization, a lane each.
        dense_mass: adapt a full metric on top of the whitening, not only its diagonal.
        target_accept: acceptance probability that the step size is adapted to.
        max_tree_depth: trajectories have at most 2^depth − 1 leapfrog steps.
    """

    warmup: int = 150
    samples: int = 1000
    chains: int = 1
    dense_mass: bool = False
    target_accept: float = 0.8
    max_tree_depth: int = 6


@dataclass(frozen=True)
class AutoSettings:
    """Settings of `auto`.

    Attributes:
        khat_max: a realization keeps the draws of `importance` below this k̂.
    """

    khat_max: float = 0.5
