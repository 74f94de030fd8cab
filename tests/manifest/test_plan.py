import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Write, load
from lanewise.errors import ManifestError, UsageError
from lanewise.manifest import loading, planning
from lanewise.manifest.manifest import Manifest


def _level0(*overrides: str) -> Manifest:
    return loading.load("manifests/level0.yaml", overrides)


def _identities(manifest: Manifest) -> list[str]:
    return [r.identity for r in planning.build(manifest).realizations]


def test_run_ids_and_seeds_of_the_published_example() -> None:
    built = planning.build(_level0())
    assert [[r.run_id for r in chunk.realizations] for chunk in built.chunks] == [
        [
            "g1_+0.0100_g2_+0.0000_s42",
            "g1_+0.0100_g2_+0.0000_s43",
            "g1_+0.0200_g2_+0.0000_s44",
            "g1_+0.0200_g2_+0.0000_s45",
        ],
        ["g1_+0.0500_g2_+0.0000_s46", "g1_+0.0500_g2_+0.0000_s47"],
    ]


def test_pairs_share_a_seed_and_differ_in_sign() -> None:
    built = planning.build(_level0("shear={grid: [0.02], g2: 0.0, paired: true}"))
    assert [r.run_id for r in built.realizations] == [
        "g1_+0.0200_g2_+0.0000_s42",
        "g1_-0.0200_g2_+0.0000_s42",
        "g1_+0.0200_g2_+0.0000_s43",
        "g1_-0.0200_g2_+0.0000_s43",
    ]


def test_negative_zero_is_zero() -> None:
    built = planning.build(_level0("shear.grid=[-0.0]", "shear.g2=-0.0"))
    assert built.realizations[0].run_id == "g1_+0.0000_g2_+0.0000_s42"


def test_what_rounds_to_zero_is_positive_zero_and_arms_never_share_a_directory() -> None:
    built = planning.build(_level0("shear.grid=[-1e-5]"))
    assert built.realizations[0].run_id == "g1_+0.0000_g2_+0.0000_s42"
    with pytest.raises(ManifestError, match="the two shears of a pair would share a directory"):
        planning.build(_level0("shear={grid: [1e-5], paired: true}"))


@settings(deadline=None)  # a busy machine is no failure
@given(n_points=st.integers(1, 12), count=st.integers(1, 6), size=st.integers(1, 100))
def test_every_realization_is_in_exactly_one_chunk(n_points: int, count: int, size: int) -> None:
    grid = [round(0.001 * (k + 1), 4) for k in range(n_points)]
    built = planning.build(_level0(f"shear.grid={grid}", f"realizations.count={count}", f"batch.size={size}"))
    in_chunks = [r.run_id for r in itertools.chain.from_iterable(c.realizations for c in built.chunks)]
    assert len(in_chunks) == len(set(in_chunks)) == n_points * count
    assert all(1 <= len(c.realizations) <= size for c in built.chunks)
    assert [c.index for c in built.chunks] == list(range(len(built.chunks)))
    assert len({r.identity for r in built.realizations}) == n_points * count


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("name=other", True),
        ("output.url=elsewhere", True),
        ("batch.size=1", True),
        ("acceptance.max_abs_m=1", True),
        ("resources.cpus=1", True),
        ("config.inference.nuts_config={samples: 10}", True),  # the method is map
        ("config.psf.beta=3.0", True),  # the PSF is a Gaussian
        ("batch.width=8", False),
        ("realizations.base_seed=43", False),
        ("shear.g2=0.01", False),
        ("config.image.noise.sigma=2e-6", False),
        ("config.inference.map_config={gradient_norm: 1e-4}", False),
        ("convergence.ess_min=50", False),
    ],
)
def test_identity_holds_what_fixes_the_numbers_and_nothing_else(override: str, same: bool) -> None:
    assert (_identities(_level0(override)) == _identities(_level0())) is same


def test_identity_ignores_how_the_config_is_written() -> None:
    spelt = _level0("config.image.n_objects=1", "config.inference.rng_seed=0", "config.gal.flux=1")
    assert _identities(spelt) == _identities(_level0())
    for whole, real in (
        ("config.psf.sigma=1", "config.psf.sigma=1.0"),
        ("convergence.ess_min=9", "convergence.ess_min=9.0"),
    ):
        assert _identities(_level0(whole)) == _identities(_level0(real))


K8S, SLURM, PBS = "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX"


@pytest.mark.parametrize(
    ("asked", "environment", "in_manifest", "chunks", "source"),
    [
        ((None, None, None), {}, None, None, ""),
        ((1, None, None), {K8S: "0"}, 0, [1], "--batch-index"),
        ((None, None, None), {K8S: "1", SLURM: "0"}, 0, [1], K8S),
        ((None, None, None), {SLURM: "1"}, 0, [1], SLURM),
        ((None, None, None), {SLURM: "1", "SLURM_ARRAY_TASK_COUNT": "5"}, None, [1], SLURM),
        ((None, None, None), {}, 1, [1], "batch.index"),
        ((None, PBS, None), {K8S: "0", PBS: "3"}, 1, [3], PBS),
        ((None, PBS, 2), {PBS: "1"}, None, [1, 3], PBS),
        ((0, None, 2), {}, None, [0, 2, 4], "--batch-index"),
        ((None, PBS, 7), {PBS: "6"}, None, [], PBS),
        # An array of the user's own, as he says.
        ((None, SLURM, None), {SLURM: "1", "SLURM_ARRAY_TASK_COUNT": "9"}, None, [1], SLURM),
        ((None, None, 3), {SLURM: "2", "SLURM_ARRAY_TASK_COUNT": "3"}, None, [2], SLURM),
        ((None, "none", None), {SLURM: "1", "SLURM_ARRAY_TASK_COUNT": "9"}, None, None, ""),
    ],
)
def test_precedence_of_the_batch_index(
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[Any, Any, Any],
    environment: dict[str, str],
    in_manifest: int | None,
    chunks: list[int] | None,
    source: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    overrides = [] if in_manifest is None else [f"batch.index={in_manifest}"]
    found, where = planning.choose(*asked, _level0(*overrides), n_chunks=5)
    assert (None if found is None else list(found), where) == (chunks, source)


@pytest.mark.parametrize(
    ("asked", "environment", "message"),
    [
        ((None, None, None), {K8S: "2"}, f"{K8S}: expected a chunk index from 0 to 1, got 2"),
        ((None, None, None), {K8S: "-1"}, "from 0 to 1, got -1"),
        ((None, None, None), {K8S: "x"}, "from 0 to 1, got x"),
        ((None, PBS, None), {}, f"{PBS}: expected a chunk index from 0 to 1, got nothing"),
        ((None, PBS, 3), {PBS: "3"}, f"{PBS}: expected the index of a task from 0 to 2, got 3"),
        ((None, None, 3), {}, "--of 3: expected an index with it; add --index-from"),
        (
            (None, None, None),
            {SLURM: "1", "SLURM_ARRAY_TASK_COUNT": "9"},
            f"a task of an array of 9, and the plan has 2 chunks.*--index-from {SLURM}.*--of 9.*--index-from none",
        ),
    ],
)
def test_an_index_that_selects_no_chunk_of_the_plan_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, asked: tuple[Any, Any, Any], environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        planning.choose(*asked, _level0(), n_chunks=2)


@given(st.integers(1, 40), st.integers(1, 60))
def test_every_chunk_is_computed_by_exactly_one_of_n_tasks(n_chunks: int, of: int) -> None:
    manifest = _level0()
    found = [index for task in range(of) for index in planning.choose(task, None, of, manifest, n_chunks)[0] or ()]
    assert sorted(found) == list(range(n_chunks))


def test_the_plan_is_a_function_of_the_manifest(write: Write) -> None:
    path = write()
    assert load(path).plan == load(path).plan
