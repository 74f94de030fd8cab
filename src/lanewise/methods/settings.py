"""Settings of the methods; separate from their code, so that reading a manifest does not import JAX."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MapSettings:
    """Settings of `map`.

    Attributes:
        gradient_norm: converged below this; in units of the posterior's width, see `mode.Mode.gradient_norm`.
        max_iterations: largest number of second-order steps.
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
        guide: `full_rank`, a Gaussian with all correlations, or `mean_field`, one without correlations.
        num_steps: steps of the optimiser (Adam).
        learning_rate: step size of the optimiser, in units of the posterior's width.
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
        samples: number of draws of the proposal, and of posterior draws that are resampled from them.
    """

    samples: int = 2000


@dataclass(frozen=True)
class HmcSettings:
    """Settings of `hmc`.

    Attributes:
        burn_in: transitions per chain that are discarded; nothing is adapted in them.
        samples: draws kept per chain.
        chains: chains per realization, all in one lane.
        leapfrog_steps: number of leapfrog steps per trajectory.
        step_size: size of a leapfrog step, in units of the posterior's width.
        jitter: step sizes are uniform within `step_size` · (1 ± jitter), one per trajectory.
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
        chains: chains per realization, one lane each.
        dense_mass: adapt a full metric on top of the whitening, not only its diagonal.
        target_accept: acceptance probability to which the step size is adapted.
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
        khat_max: below this k̂ a realization keeps its draws of `importance`; otherwise the next stage runs.
    """

    khat_max: float = 0.5
