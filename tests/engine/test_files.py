import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from lanewise.engine.results import Diagnostics, Result
from lanewise.families.shear.outputs import OUTPUTS
from lanewise.manifest.problem import Members
from lanewise.manifest.status import LaneStatus


def _sampled(n_chains: int = 2, n_draws: int = 5) -> Result:
    rng = np.random.default_rng(5)
    return Result(
        run_id="g1_+0.0100_g2_+0.0000_s42",
        seed=42,
        status=LaneStatus.OK,
        reason="",
        method="nuts",
        truth={"g1": 0.01, "g2": 0.0, "flux": 1.0},
        posterior={name: rng.normal(size=(n_chains, n_draws)) for name in ("g1", "g2")},
        stats={"diverging": rng.random((n_chains, n_draws)) < 0.5, "n_steps": np.full((n_chains, n_draws), 7)},
        diagnostics=Diagnostics(
            rhat={"g1": 1.0, "g2": None}, ess={"g1": 8.0, "g2": 9.0}, ess_kind="bulk", bfmi=(1.0, 0.9), divergences=3
        ),
    )


def _mode() -> Result:
    return Result(
        run_id="g1_+0.0200_g2_+0.0000_s43",
        seed=43,
        status=LaneStatus.NOT_CONVERGED,
        reason="Not converged.",
        method="map",
        truth={"g1": 0.02, "g2": 0.0},
        posterior={"g1": np.array([[0.0201]]), "g2": np.array([[0.001]])},
        laplace_std={"g1": 1e-3, "g2": 2e-3},
        diagnostics=Diagnostics(gradient_norm=0.5, hessian_positive=True),
    )


def _weighted() -> Result:
    """Of another shape and with other statistics than `_sampled`, as `auto` leaves them in one chunk."""
    rng = np.random.default_rng(6)
    return Result(
        run_id="g1_+0.0200_g2_+0.0000_s45",
        seed=45,
        status=LaneStatus.OK,
        reason="",
        method="importance",
        truth={"g1": 0.02, "g2": 0.0},
        posterior={name: rng.normal(size=(1, 12)) for name in ("g1", "g2")},
        stats={"lp": rng.normal(size=(1, 12)), "log_weight": rng.normal(size=(1, 12))},
        diagnostics=Diagnostics(ess={"g1": 9.5, "g2": 9.5}, ess_kind="weights", khat=-0.1),
    )


def _with_groups(n: int) -> Result:
    rng = np.random.default_rng(n)
    drawn: dict[str, np.ndarray] = {
        "y": rng.normal(size=(2, 5, n)).astype(np.float32),
        "z": rng.normal(size=(2, 5, 2, n)),
    }
    return replace(_sampled(), groups={"log_likelihood": drawn, "observed_data": {"y": np.arange(n)}})


def _population(n: int) -> Result:
    """Members as galaxies leave them: log likelihoods at the nodes with noise in every bit, some without a value."""
    rng = np.random.default_rng(n)
    g = np.linspace(-0.06, 0.06, 5)
    e = 0.25 * rng.normal(size=(2, n, 1, 1, 1))
    ln_l = -((e[0] - g[:, None]) ** 2 + (e[1] - g) ** 2) / (2 * 0.25**2) + 0.1 * rng.normal(size=(n, 1, 1, 1))
    ln_l[::7] = np.nan
    floats = {"half": (n, 1, 5), "khat": (n, 1), "size": (n, 1)}
    record = {name: rng.normal(size=shape).astype(np.float32) for name, shape in floats.items()}
    status = np.where(np.arange(n) % 7, LaneStatus.OK, LaneStatus.NON_FINITE).astype(np.int8)
    posterior = {name: rng.normal(size=(1, 1000)) for name in ("g1", "g2")}
    return replace(_mode(), posterior=posterior, members=Members(status, {"ln_l": ln_l, **record}))


def _failed() -> Result:
    return Result(
        "g1_+0.0200_g2_+0.0000_s44", 44, LaneStatus.NON_FINITE, "Not finite.", "nuts", {"g1": 0.02, "g2": 0.0}
    )


def test_bytes_are_a_function_of_the_result() -> None:
    assert OUTPUTS.files(_sampled()) == OUTPUTS.files(_sampled())
    assert OUTPUTS.packed_nc([_sampled(), _failed()]) == OUTPUTS.packed_nc([_sampled(), _failed()])


@pytest.mark.parametrize(
    "results",
    [
        [_with_groups(3), _failed(), _with_groups(4)],
        [_sampled(), _failed()],
        [_failed()],
        [_mode()],
        [_mode(), _failed()],
        [_weighted(), _failed(), _sampled()],
    ],
)
def test_what_is_packed_unpacks_to_the_same_files(results: list[Result]) -> None:
    unpacked = OUTPUTS.unpack(OUTPUTS.packed_nc(results))
    assert [OUTPUTS.files(r) for r in unpacked] == [OUTPUTS.files(r) for r in results]
    assert [OUTPUTS.summary_row(r) for r in unpacked] == [OUTPUTS.summary_row(r) for r in results]


@pytest.mark.parametrize("sizes", [(1000,), (40, 30_000), (3,)])
def test_members_lose_no_bit_in_a_compressed_file(sizes: tuple[int, ...]) -> None:
    packed = OUTPUTS.packed_nc(results := [*(_population(n) for n in sizes), _failed()])
    unpacked = OUTPUTS.unpack(packed)
    assert packed == OUTPUTS.packed_nc(unpacked)
    for found, expected in zip(unpacked, results, strict=True):
        assert (found.members is None) == (expected.members is None)
        if found.members and expected.members:
            assert found.members.status.tobytes() == expected.members.status.tobytes()
            for name, array in expected.members.record.items():
                read = found.members.record[name]
                assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_a_galaxy_takes_at_most_250_bytes_of_storage() -> None:
    assert len(OUTPUTS.packed_nc([_population(1000)])) <= 250 * 1000


def test_undefined_is_null_in_json_and_none_in_the_summary() -> None:
    content = json.loads(OUTPUTS.files(_mode())["convergence.json"])
    assert (content["divergences"], content["bfmi"], content["rhat"]) == (None, None, {})
    row = OUTPUTS.summary_row(_mode())
    assert [row[name] for name in ("rhat_g1", "ess_g1", "khat", "ess_kind")] == [None] * 4
    assert OUTPUTS.summary_row(_sampled())["rhat_g2"] is None


def test_weights_have_their_own_effective_size_and_no_rhat() -> None:
    row = OUTPUTS.summary_row(_weighted())
    assert [row[name] for name in ("method_used", "ess_kind", "ess_g1", "khat", "rhat_g1")] == [
        "importance",
        "weights",
        9.5,
        -0.1,
        None,
    ]


def test_a_mode_has_its_laplace_width() -> None:
    row = OUTPUTS.summary_row(_mode())
    assert (row["g1_mean"], row["g1_median"], row["g1_std"]) == (0.0201, 0.0201, 1e-3)


def test_a_realization_without_draws_has_no_posterior_and_says_why() -> None:
    files = OUTPUTS.files(_failed())
    assert list(files) == ["truth.json", "convergence.json"]
    assert json.loads(files["convergence.json"])["reason"] == "Not finite."
    row = OUTPUTS.summary_row(_failed())
    assert (row["g1_true"], row["g1_mean"], row["passed_convergence"], row["status"]) == (
        0.02,
        None,
        False,
        "non_finite",
    )


def test_the_columns_of_the_published_summary_come_first() -> None:
    published = (
        "run_id g1_true g2_true g1_mean g1_median g1_std g2_mean g2_median g2_std rhat_g1 rhat_g2 ess_g1 ess_g2 "
        "divergences divergence_frac passed_convergence seed"
    )
    assert list(OUTPUTS.summary_row(_sampled()))[:17] == published.split()


def test_a_mode_without_a_width_has_an_empty_one() -> None:
    row = OUTPUTS.summary_row(dataclasses.replace(_mode(), laplace_std={}))
    assert (row["g1_mean"], row["g1_std"]) == (0.0201, None)
