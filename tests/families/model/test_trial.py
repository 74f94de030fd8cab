"""Models that users get wrong: each is told in a sentence with its line before anything is computed, or is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from conftest import Lanewise
from families.model.campaigns import MEAN, table, write

LIKELIHOOD = 'numpyro.sample("y", dist.Normal(mu, 2.0), obs=data["y"])'
MU = 'mu = numpyro.sample("mu", dist.Normal(0, 10))'
# Lines of the model's body, after `def model(data):`, and what is said; the model's first line is line 7 of the file.
WRONG = {
    "a site twice": ([MU, 'numpyro.sample("mu", dist.Normal(0, 1))', LIKELIHOOD], r"model\.py:9: .*`mu` duplicated"),
    "nothing observed": ([MU, LIKELIHOOD.replace(', obs=data["y"]', "")], r"model\.py: the model observes nothing"),
    "no latent": (["mu = 1.0", LIKELIHOOD], r"model\.py: the model has no latent"),
    "a discrete latent without end": (
        [MU, 'k = numpyro.sample("k", dist.Poisson(3.0))', LIKELIHOOD.replace("mu,", "mu + k,")],
        r"model\.py:9: latent 'k' \(Poisson\) has too many values to sum over",
    ),
    "a discrete latent beside a vector without plate": (
        [MU, 'k = numpyro.sample("k", dist.Bernoulli(0.5))', LIKELIHOOD.replace("mu,", "mu + k,")],
        r"model\.py: a discrete latent is summed out, which needs a plate",
    ),
    "a branch on a discrete latent": (
        [
            MU,
            'k = numpyro.sample("k", dist.Bernoulli(0.5))',
            "mu = mu if k else -mu",
            'with numpyro.plate("row", data["y"].shape[0]):',
            f"    {LIKELIHOOD}",
        ],
        r"model\.py:10: branches on a value",
    ),
    "a site that needs the discrete latent": (
        [
            MU,
            'k = numpyro.sample("k", dist.Bernoulli(0.5))',
            'm = numpyro.deterministic("m", mu + k)',
            'with numpyro.plate("row", data["y"].shape[0]):',
            f"    {LIKELIHOOD.replace('mu,', 'm,')}",
        ],
        r"model\.py:10: 'm' depends on a discrete latent \(k\), which is summed out",
    ),
    "discrete latents alone": (
        ['k = numpyro.sample("k", dist.Bernoulli(0.5))', LIKELIHOOD.replace("mu,", "k,")],
        r"model\.py: the model has no continuous latent",
    ),
    "an improper prior": (
        ['mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))', LIKELIHOOD],
        r"model\.py:8: draws from a prior that cannot be drawn from, such as an improper one",
    ),
    "a constant latent": (
        [MU, 'c = numpyro.sample("c", dist.Delta(1.0))', LIKELIHOOD.replace("mu,", "mu + c,")],
        r"model\.py:9: latent 'c' is a constant",
    ),
    "a parameter without prior": (
        ['mu = numpyro.param("mu", 0.0)', MU.replace("mu", "nu"), LIKELIHOOD],
        "has no prior",
    ),
    "a column that is not there": (
        [MU, LIKELIHOOD.replace('"y"])', '"z"])')],
        r"model\.py:9: data has no 'z'.*x, y and mask",
    ),
    "shapes that broadcast": (
        [MU, LIKELIHOOD.replace("mu,", 'mu + 0 * data["x"][:, None],')],
        r"model\.py:9: site 'y' observes values of shape \(5,\).*a datum counts several times",
    ),
    "data outside the support": ([MU, 'numpyro.sample("y", dist.Poisson(jnp.exp(mu)), obs=data["y"])'], "cannot have"),
    "a branch on a latent": ([MU, "if mu > 0:", "    mu = 2 * mu", LIKELIHOOD], r"model\.py:9: branches on a value"),
    "a branch on the data": (
        [MU, 'if data["x"][0] > 0:', "    mu = 2 * mu", LIKELIHOOD],
        r"model\.py:9: branches on a value",
    ),
    "a selection by the data": (
        [MU, 'y = data["y"][data["x"] > 0.6]', LIKELIHOOD.replace('data["y"]', "y")],
        r"model\.py:9: selects by a condition",
    ),
    "NumPy on a latent": ([MU, "mu = np.exp(mu)", LIKELIHOOD], r"model\.py:9: gives a value to NumPy; write jnp"),
    "float() of a latent": ([MU, "mu = float(mu)", LIKELIHOOD], r"model\.py:9: needs the number behind a value"),
    "a loop over the data": (
        [MU, 'for _ in range(int(data["x"][1] * 2)):', "    mu = mu + 1", LIKELIHOOD],
        r"model\.py:9: needs",
    ),
    "random numbers of NumPy": ([MU, "mu = mu + np.random.normal()", LIKELIHOOD], "gives another density"),
    "a debug print": ([MU, 'jax.debug.print("{}", mu)', LIKELIHOOD], "prints or calls back"),
    "a gradient that is not finite": (
        [
            MU,
            'z = numpyro.deterministic("z", jnp.where(mu > 1e9, jnp.sqrt(mu - 1e9), mu))',
            LIKELIHOOD.replace("mu,", "z,"),
        ],
        r"model\.py:8: the gradient in 'mu' is not finite",
    ),
    "a scale below zero": (
        [MU, LIKELIHOOD.replace("2.0", "-2.0")],
        r"model\.py:9: ValueError: Normal distribution got invalid scale",
    ),
    "bounds by another latent": (
        [MU, 'b = numpyro.sample("b", dist.Uniform(0, jnp.exp(mu / 10)))', LIKELIHOOD.replace("mu,", "b,")],
        r"model\.py:9: the bounds of 'b' depend",
    ),
    "a latent per row": (
        [
            MU,
            'with numpyro.plate("n", data["y"].shape[0]):',
            '    z = numpyro.sample("z", dist.Normal(mu, 1))',
            LIKELIHOOD.replace("mu,", "z,"),
        ],
        r"model\.py:10: latent 'z' differs between data sets: shape \(5,\), and shape \(11,\)",
    ),
    "sites that differ": (
        [MU, 'if data["y"].shape[0] > 8:', '    mu = mu + numpyro.sample("more", dist.Normal(0, 1))', LIKELIHOOD],
        r"model\.py:10: latent 'more' differs between data sets: no such site",
    ),
    "rows that depend on each other": (
        [MU, 'mu = mu + jnp.mean(data["x"])', LIKELIHOOD],
        r"density changes when rows are added.*inputs\.padding: false",
    ),
    "a subsample": (
        [
            MU,
            'with numpyro.plate("n", data["y"].shape[0], subsample_size=2) as k:',
            '    numpyro.sample("y", dist.Normal(mu, 2.0), obs=data["y"][k])',
        ],
        "plate 'n' takes a random part",
    ),
    "too many latents": (
        ['mu = numpyro.sample("mu", dist.Normal(0, 10).expand([600])).sum()', LIKELIHOOD],
        "600 latents",
    ),
    "a name that is not defined": ([MU, "mu = mu + offset", LIKELIHOOD], r"model\.py:9: NameError"),
    "plates in the wrong place": (
        ['with numpyro.plate("a", 3):', '    mu = numpyro.sample("mu", dist.Normal(jnp.zeros(4), 10))', LIKELIHOOD],
        r"model\.py:9: ",
    ),
}
RIGHT = {
    "a mask of one's own": [MU, 'with numpyro.handlers.mask(mask=data["mask"]):', f"    {LIKELIHOOD}"],
    "a factor": [MU, 'numpyro.factor("y", dist.Normal(mu, 2.0).log_prob(data["y"]))'],
    "to_event": [
        MU,
        'numpyro.sample("y", dist.Normal(mu * jnp.ones(data["y"].shape), 2.0).to_event(1), obs=data["y"])',
    ],
    "a sum over the mask": [
        MU,
        'numpyro.factor("y", jnp.sum(data["mask"] * dist.Normal(mu, 2.0).log_prob(data["y"])))',
    ],
    "a vector and constraints": [
        'c = numpyro.sample("c", dist.Dirichlet(jnp.ones(3)))',
        's = numpyro.sample("s", dist.HalfCauchy(1.0))',
        'numpyro.sample("y", dist.StudentT(3, c[0], s), obs=data["y"])',
    ],
}


def body(lines: list[str]) -> str:
    return "\ndef model(data):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.long
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_is_told_in_a_sentence(name: str, tmp_path: Path, lanewise: Lanewise) -> None:

    lines, said = WRONG[name]
    code, _, err = lanewise("validate", write(tmp_path, body(lines)))
    assert code == 65
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert re.search(said, err), err


@pytest.mark.long
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_is_valid(name: str, tmp_path: Path, lanewise: Lanewise) -> None:
    code, _, err = lanewise("validate", write(tmp_path, body(RIGHT[name])))
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "nomodel.py:model"}, r"m\.yaml:4: model: .*nomodel\.py: no such file"),
        ({"model": "model.py:modle"}, "has no 'modle' at its top level; did you mean 'model'"),
        ({"model": "model.py"}, r"expected a file and a function, such as mymodel\.py:model"),
        ({"inputs": {"table": "no.csv", "id": "star", "columns": ["y"]}}, r"inputs\.table: .*no\.csv: no such file"),
        ({"inputs": {"table": "stars.csv", "columns": ["y"]}}, "expected 'id', the column that tells data sets apart"),
        ({"inputs": {"table": "stars.csv", "id": "sta", "columns": ["y"]}}, "has no column 'sta'; did you mean 'star'"),
        ({"inputs": {"table": "stars.csv", "id": "x", "columns": ["star"]}}, "column 'star' holds text, such as 's0'"),
        ({"inputs": {"table": "stars.csv", "id": "star"}}, "expected 'columns' or 'scalars'"),
        (
            {"inputs": {"table": "stars.csv", "id": "star", "columns": {"mask": "y"}}},
            "the name 'mask': lanewise gives it",
        ),
        ({"inputs": "stars.csv"}, "inputs: expected a mapping, got 'stars.csv'"),
        ({"config": {}}, "config: kind model has its config in"),
    ],
)
def test_a_wrong_manifest_is_told_with_its_line(
    changes: dict[str, object], said: str, tmp_path: Path, lanewise: Lanewise
) -> None:

    path = Path(write(tmp_path, MEAN, table()))
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, sort_keys=False))
    code, _, err = lanewise("validate", str(path))
    assert code in {65, 74}
    assert re.search(said, err), err


def test_python_that_cannot_be_read_or_executed_is_told_with_its_line(tmp_path: Path, lanewise: Lanewise) -> None:
    code, _, err = lanewise("validate", write(tmp_path, "\ndef model(data)\n    pass\n"))
    assert (code, "model.py:7: expected ':'" in err) == (65, True), err
    code, _, err = lanewise("validate", write(tmp_path, "\nimport nowhere_to_be_found\n" + MEAN))
    assert (code, "model.py:7: ModuleNotFoundError" in err) == (65, True), err
