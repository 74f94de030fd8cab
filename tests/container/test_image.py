"""The image, built and run as a cluster would: read-only, without rights, without network."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lanewise.manifest import planning
from lanewise.manifest.loading import load
from lanewise.render.kubernetes import MANIFEST_PATH, jobs
from lanewise.render.site import Site

from .conftest import ROOT
from .engine import CONFINED, Engine, pod_run

pytestmark = pytest.mark.container

SHIPPED = "/usr/share/lanewise/manifests/level0.yaml"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory that the container's user, whoever it is, can write."""
    path = tmp_path / "work"
    path.mkdir()
    path.chmod(0o777)
    return path


def test_level_0_from_simulation_to_report(engine: Engine, image: str, work: Path) -> None:
    where = ("-v", f"{work}:/work", image)
    engine.must("run", *CONFINED, *where, "run", SHIPPED)
    engine.must("run", *CONFINED, *where, "aggregate", SHIPPED)
    results = work / "results/batched"
    assert (results / "report.html").stat().st_size > 1000
    assert len(list(results.glob("g1_*/posterior.nc"))) == 6
    assert (results / "g1_+0.0100_g2_+0.0000_s42/truth.json").exists()
    verdict = json.loads((results / "stats/bias_results.json").read_text())["verdict"]
    assert "PASS" in json.dumps(verdict)


def test_rendered_jobs_carry_the_campaign_out(engine: Engine, image: str, work: Path, tmp_path: Path) -> None:
    """One container per index, as the Indexed Job asks for; the aggregation starts first and waits for the commits."""
    manifest = load(str(ROOT / "manifests/level0.yaml"))
    text = jobs(manifest, planning.build(manifest), Site(image=image, pvc="results", deadline_s=600))
    config_map, chunks, aggregation = yaml.safe_load_all(text)
    mounted = tmp_path / "manifest"
    mounted.mkdir()
    for name, content in config_map["data"].items():
        (mounted / name).write_text(content, encoding="utf-8")
    volumes = {"manifest": mounted, "output": work}
    waiting = engine.start(*pod_run(aggregation, volumes))
    try:
        for index in range(chunks["spec"]["completions"]):
            engine.must(*pod_run(chunks, volumes, "-e", f"JOB_COMPLETION_INDEX={index}"))
        out, err = waiting.communicate(timeout=300)
    finally:
        waiting.terminate()  # the engine hands it on to the container
    assert waiting.returncode == 0, out + err
    assert (work / "results/batched/report.html").exists()


@pytest.fixture
def running(engine: Engine, image: str, work: Path) -> Iterator[str]:
    """A container in the middle of a campaign that takes minutes."""
    # Fifty chunks: as shipped, the campaign has one, and may be done before the signal arrives.
    campaign = ("/usr/share/lanewise/manifests/snr100-nuts.yaml", "--set", "realizations.count=200")
    confined = [option for option in CONFINED if option != "--rm"]
    name = engine.must("run", "--detach", *confined, "-v", f"{work}:/work", image, "run", "--json", *campaign).strip()
    deadline = time.monotonic() + 300
    while '"progress"' not in engine.run("logs", name).stdout and time.monotonic() < deadline:
        time.sleep(1)
    assert engine.must("inspect", "--format", "{{.State.Running}}", name).strip() == "true"
    yield name
    engine.run("rm", "--force", name)


def test_stopped_container_exits_143(engine: Engine, running: str) -> None:
    engine.must("stop", "-t", "120", running)
    assert engine.must("inspect", "--format", "{{.State.ExitCode}}", running).strip() == "143"


def test_container_beyond_its_memory_limit_exits_137(engine: Engine, image: str, work: Path) -> None:
    done = engine.run("run", *CONFINED, "--memory", "100m", "-v", f"{work}:/work", image, "run", SHIPPED)
    assert done.returncode == 137, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 0, "Usage"),
        (("validate", SHIPPED), 0, "valid; 6 realizations in 2 chunks"),
        (("validate", SHIPPED, "--set", "batch.size=none"), 65, "batch.size"),
        (("run", SHIPPED, "--batch-index", "2"), 64, "from 0 to 1"),
        (("run", SHIPPED, "--no-such-option"), 64, "--no-such-option"),
        (("run", SHIPPED, "--set", "resources.device=gpu"), 78, "resources.device is gpu"),
    ],
)
def test_exit_code_comes_out_of_the_container(
    engine: Engine, image: str, work: Path, args: tuple[str, ...], code: int, said: str
) -> None:
    done = engine.run("run", *CONFINED, "-v", f"{work}:/work", image, *args)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_broken_manifest_is_told_by_line(engine: Engine, image: str, work: Path, tmp_path: Path) -> None:
    broken = tmp_path / "manifest.yaml"
    text = (ROOT / "manifests/level0.yaml").read_text(encoding="utf-8")
    broken.write_text(text.replace("batch:", "bach:"), encoding="utf-8")
    done = engine.run("run", *CONFINED, "-v", f"{broken}:{MANIFEST_PATH}:ro", image, "run", MANIFEST_PATH)
    assert done.returncode == 65
    assert "did you mean 'batch'?" in done.stderr
    assert f"{MANIFEST_PATH}:" in done.stderr


def test_any_other_user_will_do(engine: Engine, image: str, work: Path) -> None:
    confined = ["12345:0" if option == "10001" else option for option in CONFINED]
    where = ("-v", f"{work}:/work", image)
    engine.must("run", *confined, *where, "run", SHIPPED, "--batch-index", "1")


@pytest.mark.parametrize("tool", ["pip", "gcc", "git", "curl"])
def test_image_holds_no_tool_it_does_not_need(engine: Engine, image: str, tool: str) -> None:
    assert engine.run("run", *CONFINED, "--entrypoint", "which", image, tool).returncode == 1


def test_nothing_of_the_build_is_left(engine: Engine, image: str) -> None:
    script = (
        "ls -A /tmp /build /pip /etc/pip.conf /run/host-ca.crt /root/.cache /var/lib/apt/lists 2>/dev/null | grep -v :"
    )
    assert engine.run("run", *CONFINED, "--entrypoint", "sh", image, "-c", script).stdout.strip() == ""


def test_image_says_what_it_is(engine: Engine, image: str) -> None:
    [content] = json.loads(engine.must("image", "inspect", image))
    assert content["Config"]["User"] == "10001:10001"
    assert content["Config"]["Labels"]["org.opencontainers.image.title"] == "lanewise"
    assert not content.get("HealthCheck")
    # A CPU image must not take every GPU of a node.
    assert "NVIDIA_VISIBLE_DEVICES=" in content["Config"]["Env"]
