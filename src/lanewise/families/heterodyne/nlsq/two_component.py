"""Two components as a fit needs them.

Each derivative of g is the product of a factor per pair and a factor per age: for a coordinate x of a rate with
integral C, ∂g/∂x = ∂g/∂ΔC · (∂C_j/∂x − ∂C_i/∂x). Two exponentials per pair serve all angles of one q; the cosines of
the phases of a pair follow from those of its ages by the addition theorem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.config import Range
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import coordinates, rates
from lanewise.families.heterodyne.nlsq.coordinates import Gauge
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitSetting
from lanewise.families.heterodyne.nlsq.rates import between
from lanewise.families.heterodyne.nlsq.scene import Ages, Scene

_FRACTION = (0.03, 0.97)


@dataclass(frozen=True)
class TwoComponents:
    """The model `two_component`, a `FitModel`."""

    definitions: Definitions = Definitions()  # noqa: RUF009  # frozen

    physics = MODELS["two_component"]
    coordinate_names = (
        *(name.format(f"_{which}") for which in ("ref", "sample") for name in rates.RATE_NAMES),
        *("v(t_ref)", "beta", "v_offset"),
        *("log f0 at mid-window", "f1", "f3", "phi0"),
    )
    box_names = coordinates.BOX_NAMES
    # The rate of each component, the drift with its direction, the fraction.
    groups = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 12), (9, 10, 11))
    exchangeable = True

    def setting(self, ranges: Mapping[str, Range], tied: Mapping[str, str], t: np.ndarray) -> FitSetting:
        """Gauge and box of a fit over the ages t [s], shape (N,)."""
        return FitSetting(self, *coordinates.setting(ranges, tied, t))

    def to_box(self, x: jax.Array, gauge: Gauge) -> jax.Array:
        """Box parameters of the coordinates x, both of shape (13,)."""
        return coordinates.to_box(x, gauge)

    def from_box(self, p: jax.Array, gauge: Gauge) -> jax.Array:
        """Coordinates of box parameters."""
        return coordinates.from_box(p, gauge)

    def from_parameters(self, parameters: jax.Array, gauge: Gauge) -> jax.Array:
        """Coordinates of the 14 parameters."""
        return coordinates.from_parameters(parameters, gauge)

    def limited(self, x: jax.Array, p: jax.Array, gauge: Gauge, box: Box) -> jax.Array:
        """The coordinates with an amplitude of the share that some f2 within its bounds allows."""
        return coordinates.limited(x, p, gauge, box)

    def report(self, x: jax.Array, gauge: Gauge) -> tuple[jax.Array, jax.Array]:
        """The 14 parameters, and J_ref, J_sample, |v| at t_ref."""
        return coordinates.report(x, gauge)

    def rates(self, x: jax.Array, t: jax.Array, gauge: Gauge) -> jax.Array:
        """J of both components and v at the ages t [s], shape (3, N)."""
        return coordinates.curves(x, t, gauge)

    def ages(self, x: jax.Array, scene: Scene, gauge: Gauge) -> Ages:
        """Factors per age and per angle."""
        p = coordinates.profiles(x, scene, gauge, self.definitions.fraction_clip)
        f, r = p.f, 1 - p.f
        n = f**2 + r**2
        angle = jnp.deg2rad(scene.phi + x[12])
        wave, d_wave = scene.q * jnp.cos(angle), -scene.q * jnp.sin(angle) * (np.pi / 180)
        phase = p.path[:, None] * wave
        scalars = [p.reference, p.sample, p.path, r**2 / n, f**2 / n, f * r / n, 2 * f * r / n**2, (r - f) / n**2]
        vectors = [p.d_reference, p.d_sample, p.d_path, p.d_f, jnp.cos(phase), jnp.sin(phase)]
        return Ages(jnp.concatenate([jnp.stack(scalars, axis=1), *vectors], axis=1), wave, d_wave)

    def columns(self, at_i: jax.Array, at_j: jax.Array, ages: Ages, scene: Scene) -> jax.Array:
        """∂g/∂x and g of pairs of ages, shape (n_phi, 14, n_pairs)."""
        n_phi = ages.wave.shape[0]
        q = self.definitions.stretch * jnp.asarray(scene.q)[..., None]
        c_r, c_s, path = at_j[:3] - at_i[:3]
        d_r, d_s, d_v = at_j[8:11] - at_i[8:11], at_j[11:14] - at_i[11:14], at_j[14:17] - at_i[14:17]
        (u_i, w_i, m_i, dw_i, dm_i), (u_j, w_j, m_j, dw_j, dm_j) = at_i[3:8], at_j[3:8]
        f_i, f_j = at_i[17:20], at_j[17:20]
        cos_i, cos_j = at_i[20 : 20 + n_phi], at_j[20 : 20 + n_phi]
        sin_i, sin_j = at_i[20 + n_phi :], at_j[20 + n_phi :]
        cos, sin = cos_i * cos_j + sin_i * sin_j, sin_j * cos_i - cos_j * sin_i

        # Without the barrier the compiler repeats the exponentials for each column that uses them.
        h_r, h_s = jax.lax.optimization_barrier((c2.field_decay(c_r, q), c2.field_decay(c_s, q)))
        decay_r, decay_s, both = h_r**2, h_s**2, 2 * h_r * h_s
        beat = m_i * m_j * both
        by_reference = -(q**2) * (u_i * u_j * decay_r + beat / 2 * cos)
        by_sample = -(q**2) * (w_i * w_j * decay_s + beat / 2 * cos)
        by_phase = -beat * sin
        by_f_i = dw_i * (w_j * decay_s - u_j * decay_r) + dm_i * m_j * both * cos
        by_f_j = dw_j * (w_i * decay_s - u_i * decay_r) + dm_j * m_i * both * cos
        g = u_i * u_j * decay_r + w_i * w_j * decay_s + beat * cos
        columns = [
            by_reference[:, None] * d_r,
            by_sample[:, None] * d_s,
            (by_phase * ages.wave[:, None])[:, None] * d_v,
            by_f_i[:, None] * f_i + by_f_j[:, None] * f_j,
            (by_phase * ages.d_wave[:, None] * path)[:, None],
            g[:, None],
        ]
        return jnp.concatenate(columns, axis=1)

    def correlation(self, x: jax.Array, first: jax.Array, second: jax.Array, scene: Scene, gauge: Gauge) -> jax.Array:
        """g of pairs of ages, shape (n_phi, …) for indices of shape (…)."""
        reference, sample, path, f = coordinates.values(x, scene, gauge, self.definitions.fraction_clip)
        wave = scene.q * jnp.cos(jnp.deg2rad(scene.phi + x[12]))
        pair = (path[second] - path[first]).ndim
        q = self.definitions.stretch * jnp.asarray(scene.q).reshape(jnp.shape(scene.q) + (1,) * pair)
        h_r = c2.field_decay(reference[second] - reference[first], q)
        h_s = c2.field_decay(sample[second] - sample[first], q)
        r, n = 1 - f, f**2 + (1 - f) ** 2
        u, w, m = (a[first] * a[second] for a in (r**2 / n, f**2 / n, f * r / n))
        phase = jnp.multiply.outer(wave, path[second] - path[first])
        return jnp.asarray(u * h_r**2 + w * h_s**2 + 2 * m * h_r * h_s * jnp.cos(phase))

    def design(self, u: np.ndarray, scene: Scene, box: Box) -> np.ndarray:
        """Starts over what the window can resolve, from uniform numbers; both of shape (n_starts, 13)."""
        stretch, span = self.definitions.stretch, np.ptp(np.asarray(scene.t))
        phi0 = float(box.low[12]), float(box.high[12])
        phase = rates.mean_q(scene) * rates.largest_cosine(scene, float(np.mean(phi0)))
        # The fractions at the first and the last age are more natural ranges than those of A, f1 and f3.
        first, last = between(u[:, 9], *_FRACTION), between(u[:, 10], *_FRACTION)
        abs_f1 = between(u[:, 11], 0.3, 6.0) / span
        f1 = np.where(last > first, abs_f1, -abs_f1)
        growth = np.exp(f1 * span / 2)
        amplitude = (last - first) / (growth - 1 / growth)
        f3 = np.maximum(first - amplitude / growth, 0.0)
        columns = [
            *rates.rate_starts(u[:, 0:3], scene, stretch),
            *rates.rate_starts(u[:, 3:6], scene, stretch),
            *rates.speed_starts(u[:, 6:9], scene, phase),
            *(np.log(np.maximum(amplitude, 1e-6)), f1, f3),
            between(u[:, 12], *phi0),
        ]
        return np.stack(columns, axis=1)

    def anchor(self, t: np.ndarray) -> Mapping[int, tuple[float, float]]:
        """Expected value and spread of coordinates, where there is an expectation."""
        of_rates = {1: rates.ALPHA, 2: rates.SHARE, 4: rates.ALPHA, 5: rates.SHARE, 7: rates.BETA, 8: (0.0, 50.0)}
        return of_rates | {9: (-1.0, 1.5), 10: (0.0, 5.0 / (t[-1] - t[0])), 11: (0.2, 0.3)}

    def max_step(self, x: jax.Array) -> jax.Array:
        """Largest step of each coordinate; that of the drift is relative to |v| + 1."""
        steps = (*rates.RATE_STEP, *rates.RATE_STEP, 0.5, 1.0, 50.0, 1.5, 2.0, 0.3, 5.0)
        return jnp.asarray(steps).at[6].mul(jnp.abs(x[6]) + 1.0)
