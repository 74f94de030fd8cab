"""From the minimum of a fit to its result: the estimates, their errors under either noise, and the doubts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine import keys
from lanewise.errors import DataError
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.nlsq import (
    bands,
    comparison,
    doubts,
    frames,
    labels,
    replicates,
    scaling,
    speckle_errors,
    uncertainty,
)
from lanewise.families.heterodyne.nlsq.bands import Bands, Minimum
from lanewise.families.heterodyne.nlsq.fit_model import FitSetting
from lanewise.families.heterodyne.nlsq.frames import Shared
from lanewise.families.heterodyne.nlsq.kernel import FramePairs
from lanewise.families.heterodyne.nlsq.noise import Noise
from lanewise.families.heterodyne.nlsq.replicates import Fitted
from lanewise.families.heterodyne.nlsq.result import EarlierFit, Estimate, Estimates, FitResult
from lanewise.families.heterodyne.nlsq.search import Searcher, rows
from lanewise.families.heterodyne.nlsq.solver import Search
from lanewise.families.heterodyne.nlsq.speckle_errors import Detector, SpeckleNoise
from lanewise.families.heterodyne.nlsq.uncertainty import Uncertainty

# Residuals below this share of the noise's variance are rounding, in data without noise.
_ROUNDING = 0.1
# From the parameters of an earlier fit, χ² where n_data is that of the minimum changes by less than this.
_SAME_CHI2 = 0.1


@dataclass(frozen=True)
class Finish:
    """A fit before its search.

    Attributes:
        noise: what the data say about their noise.
        weights: weight of each value, shape (n_phi, N, N).
        detector: what made speckle noise, if another fit of the same data has found it.
        earlier: a fit of the same data, whose minimum is taken in place of a search.
    """

    data: TwoTimeData
    where: FitSetting
    searcher: Searcher
    noise: Noise
    weights: np.ndarray
    detector: Detector | None = None
    earlier: EarlierFit | None = None

    def result(self) -> FitResult:
        """Search the minimum and judge it.

        Raises:
            DataError: no start gives a finite model, errors for speckle noise need the number of pixels, or the earlier
                fit is not one of these data.
        """
        polished, rounds = self.searcher.minimise() if self.earlier is None else self._again(self.earlier)
        if not np.isfinite(polished.at.ssr[0]):
            raise DataError(f"{self._source}: no start within the bounds gives a finite model; widen them")
        settings, n_data = self.searcher.settings, self.searcher.n_data
        components = None
        if self.where.model.exchangeable:
            components = labels.settle(self.searcher, polished)
            polished = components.polished
        best = rows(polished, 0)
        ssr, sigma = float(best.at.ssr), self.noise.sigma
        plain = self._errors(best, None)
        independent = self._estimates(best, plain)
        residuals, valid = self._residuals(best, independent), self.weights > 0
        shared = frames.look(residuals, valid)
        kind = settings.errors.noise
        noisy = plain.variance > _ROUNDING * sigma**2 and shared.z > speckle_errors.SHARED_Z
        wanted = kind == "speckle" or (kind == "auto" and noisy)
        speckle = self._speckle(best, independent, plain, shared) if wanted else None
        errors, chosen, inflation, expected = plain, independent, 1.0, float(n_data - plain.n_free)
        criterion = comparison.bic(ssr, n_data, plain.n_free + len(plain.at_bounds))
        if speckle is not None:
            errors = self._errors(best, speckle.score)
            chosen = self._estimates(best, errors)
            # By noise alone, χ² decreases by tr(H⁻¹ J) in place of one per unknown.
            absorbed = float(np.trace(plain.inverse @ speckle.score))
            inflation = max(absorbed / (plain.n_free * plain.variance), 1.0)
            expected = speckle.ssr / sigma**2
            criterion = comparison.composite_bic(ssr, absorbed, n_data, sigma**2)
        odd = [self.data.start_frame + frame * self.data.bin_frames for frame in frames.odd(residuals, valid)]
        agreement, n_polished = self.searcher.agreement(polished), len(polished.x)
        if self.earlier is not None:
            agreement, n_polished = self.earlier.agreement, self.earlier.n_polished
        chi2 = ssr / sigma**2 if sigma > 0 else float("inf")
        basis = np.asarray(self.searcher.problem.scaling.basis)
        gained = (scaling.constant_ssr(self.data.c2, self.weights, basis) - ssr) / plain.variance
        return FitResult(
            **vars(chosen),
            t_ref=float(self.where.gauge.t_ref),
            independent=independent,
            speckle=speckle,
            shared_z=shared.z,
            ssr=ssr,
            n_data=n_data,
            n_free=plain.n_free,
            noise=self.noise,
            reduced_chi2=chi2 / (n_data - plain.n_free),
            expected_chi2=expected,
            exchange_chi2=components.exchange_chi2 if components else float("nan"),
            second_component_chi2=components.second_chi2 if components else float("nan"),
            agreement=agreement,
            n_polished=n_polished,
            rounds=rounds,
            warnings=(
                *doubts.no_signal(gained, plain.n_free - basis.shape[1], inflation),
                *doubts.of_search(best, agreement, n_polished, n_data, settings.fit),
                *doubts.of_chi2(chi2 / expected, speckle.p_value if speckle else None, odd, settings.fit),
                *doubts.of_scaling(_values(chosen.contrast), _values(chosen.offset), settings.scaling),
            ),
            at_bounds=(*plain.at_bounds, *self._scaling_at_bounds(independent)),
            degenerate=(
                *self.where.notes,
                *(components.sentences(inflation) if components else ()),
                *plain.degenerate,
            ),
            bands=self._bands(best, errors),
            criterion=criterion,
            coordinates=np.asarray(best.x),
        )

    @property
    def _source(self) -> str:
        return self.data.source or "these data"

    def _again(self, earlier: EarlierFit) -> tuple[Search, int]:
        """The minimum of an earlier fit, and the rounds of its search."""
        parameters = np.array([earlier.parameters[name] for name in self.where.model.physics.names])
        x = self.where.model.from_parameters(jnp.asarray(parameters), self.where.gauge)
        found = self.searcher.descend_from(np.asarray(x)[None], np.nan)
        ssr, n_data = float(found.at.ssr[0]), self.searcher.n_data
        if n_data != earlier.n_data or not abs(ssr / earlier.ssr - 1) * n_data < _SAME_CHI2:
            raise DataError(
                f"{earlier.source}: is no fit of {self._source}: its sum of squares is {earlier.ssr:.6g} over "
                f"{earlier.n_data} values, and here {ssr:.6g} over {n_data} from its parameters; fit again"
            )
        return found, earlier.rounds

    def _errors(self, best: Search, score: np.ndarray | None) -> Uncertainty:
        at = best.at
        x, joint, curvature, free = (np.asarray(part) for part in (best.x, at.joint, at.curvature, at.free))
        return uncertainty.assess(
            x,
            joint=joint,
            curvature=curvature,
            free_scaling=free,
            where=self.where,
            ssr=float(at.ssr),
            n_data=self.searcher.n_data,
            score=score,
        )

    def _scaling_at_bounds(self, estimates: Estimates) -> Iterator[str]:
        scales = self.searcher.settings.scaling
        for name, values, (low, high) in (
            ("contrast", _values(estimates.contrast), scales.contrast.bounds),
            ("offset", _values(estimates.offset), scales.offset.bounds),
        ):
            if low < high and any(np.isclose(value, (low, high), rtol=0, atol=1e-9).any() for value in values):
                yield name

    def _estimates(self, best: Search, errors: Uncertainty) -> Estimates:
        basis, centre = np.asarray(self.searcher.problem.scaling.basis), float(self.searcher.problem.data.centre)
        model = self.where.model
        reported = model.report(jnp.asarray(best.x), self.where.gauge)
        covariance = errors.parameters
        contrast, offset = _per_angle(np.asarray(best.at.coefficients), errors.scaling, basis, centre)
        headline = _paired(np.asarray(reported[1]), np.diag(errors.headline))
        return Estimates(
            dict(zip(model.physics.names, _paired(np.asarray(reported[0]), np.diag(covariance)), strict=True)),
            covariance,
            dict(zip(model.physics.headline, headline, strict=True)),
            contrast,
            offset,
        )

    def _bands(self, best: Search, errors: Uncertainty) -> Bands:
        problem = self.searcher.problem
        basis, centre = problem.scaling.basis, problem.data.centre
        at = Minimum(best.x, best.at.coefficients, basis, centre, problem.scene, problem.gauge)
        return bands.bands(jax.tree.map(jnp.asarray, at), errors, self.where.model)

    def _residuals(self, best: Search, estimates: Estimates) -> np.ndarray:
        """Residuals times the roots of their weights, shape (n_phi, N, N)."""
        frame, problem = jnp.arange(self.data.n_frames), self.searcher.problem
        x, model = jnp.asarray(best.x), self.where.model
        g = model.correlation(x, frame[:, None], frame[None, :], problem.scene, problem.gauge)
        contrast, offset = (np.array(_values(part))[:, None, None] for part in (estimates.contrast, estimates.offset))
        return np.asarray(np.sqrt(self.weights) * (self.data.c2 - offset - contrast * np.asarray(g)))

    def _speckle(self, best: Search, estimates: Estimates, plain: Uncertainty, shared: Shared) -> SpeckleNoise:
        """The speckle noise behind the residuals."""
        given, problem = self.searcher.settings.errors, self.searcher.problem
        contrast = _heights(estimates)
        pixels, flux = None if given.pixels is None else np.full(len(contrast), given.pixels), given.flux
        if self.detector is not None:
            pixels, flux = np.array(self.detector.pixels), self.detector.flux
        elif pixels is None and shared.z <= speckle_errors.SHARED_Z:
            pixels = self.data.n_pixels
        tables = replicates.simulate(
            self._replicas(np.asarray(best.x), estimates),
            jnp.asarray(shared.used),
            self._replicas_key,
            self.where.model,
            sequential=self.searcher.sequential,
        )
        return speckle_errors.judge(
            tables,
            shared=shared,
            ssr=float(best.at.ssr),
            contrast=contrast,
            basis=np.asarray(problem.scaling.basis),
            inverse=plain.inverse,
            modes=1 / _mean(contrast) if given.modes is None else given.modes,
            pixels=pixels,
            flux=flux,
            source=self._source,
        )

    def shard_scores(self, fit: FitResult, each: Sequence[FramePairs]) -> np.ndarray:
        """Scores of parts of the data at a fit, in data with the speckle noise that was found; simulated.

        Args:
            each: parts of the data, of equal shapes.

        Returns:
            Scores of coordinates, contrast and offset coefficients, shape (n_replicates, n_parts_of_data, n).
        """
        assert fit.speckle is not None
        raw = replicates.shard_scores(
            self._replicas(fit.coordinates, fit.independent),
            each,
            self._replicas_key,
            self.where.model,
            sequential=self.searcher.sequential,
        )
        basis = np.asarray(self.searcher.problem.scaling.basis)
        return speckle_errors.replicated(raw, fit.speckle.detector, _heights(fit.independent), basis)

    def _replicas(self, x: np.ndarray, estimates: Estimates) -> Fitted:
        """What replicates of a fit need."""
        problem, contrast = self.searcher.problem, _heights(estimates)
        return Fitted(
            jnp.asarray(x),
            problem.data,
            problem.scene,
            problem.gauge,
            jnp.asarray(contrast),
            jnp.asarray(speckle_errors.mode_weights(_mean(contrast), self.searcher.settings.errors.modes)),
            jnp.asarray(np.sqrt(self.weights)),
            replicates.flow(self.where.model, estimates.vector, problem.scene),
        )

    @property
    def _replicas_key(self) -> jax.Array:
        """The same for every use, so that scores of parts of the data add up to those of all data."""
        seed = self.searcher.settings.fit.seed
        found: jax.Array = keys.lane_keys(root_seed=seed, seeds=[0], purpose=keys.Purpose.INFERENCE, units=[0])[0]
        return found


def _heights(estimates: Estimates) -> np.ndarray:
    """Contrast of each angle, shape (n_phi,); none is below 0."""
    return np.maximum(_values(estimates.contrast), 0.0)


def _mean(contrast: np.ndarray) -> float:
    return max(float(contrast.mean()), 1e-12)


def _values(estimates: tuple[Estimate, ...]) -> list[float]:
    return [one.value for one in estimates]


def _paired(values: np.ndarray, variances: np.ndarray) -> tuple[Estimate, ...]:
    return tuple(Estimate(float(v), float(s)) for v, s in zip(values, np.sqrt(variances), strict=True))


def _per_angle(
    coefficients: np.ndarray, covariance: np.ndarray, basis: np.ndarray, centre: float
) -> list[tuple[Estimate, ...]]:
    """Contrast and offset of each angle."""
    m = basis.shape[1]
    parts = (covariance[:m, :m], covariance[m:, m:])
    return [
        _paired(basis @ own + shift, np.einsum("am,mn,an->a", basis, part, basis))
        for own, part, shift in zip(coefficients, parts, (0.0, centre), strict=True)
    ]
