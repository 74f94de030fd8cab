"""Shared fixtures: small campaigns, and a problem whose posterior is known."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import importlib
import importlib.metadata
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from packaging.version import Version

from lanewise import api, cli
from lanewise.engine import programs
from lanewise.machine import interrupts
from lanewise.manifest import planning

# Tests run where there is a GPU as they do where there is none.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# They read what a run says as JSON; `test_a_pipe_gets_plain_text` does without.
os.environ.setdefault("LANEWISE_LOG", "json")

pytest_plugins = ["tables"]

SCENE: dict[str, Any] = {
    "image": {"pixel_scale": 0.3, "size_x": 24, "size_y": 24, "noise": {"sigma": 1e-3}},
    "psf": {"type": "Gaussian", "sigma": 0.4},
    "gal": {
        "flux": 1.0,
        "half_light_radius": 0.5,
        "shear": {
            "g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
            "g2": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        },
    },
    "inference": {"method": "map", "precision": "float64"},
}
# A scene of every kind of latent, whose draws take no chains: one program for all campaigns of calibration.
CALIBRATED: dict[str, Any] = {
    **SCENE,
    "gal": {
        **SCENE["gal"],
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.1},
        "position": {"x_min": 0.45, "x_max": 0.55, "y_min": 0.45, "y_max": 0.55},
    },
    "inference": {"method": "laplace", "precision": "float64", "laplace_config": {"samples": 200}},
}
MANIFEST: dict[str, Any] = {
    "apiVersion": "lanewise/v1",
    "kind": "shear",
    "name": "test",
    "config": SCENE,
    "shear": {"grid": [0.01, 0.02]},
    "realizations": {"count": 2},
    "batch": {"size": 2, "width": 4},
    "output": {"url": "unset"},
}
Write = Callable[..., str]
Lanewise = Callable[..., tuple[int, str, str]]


QUICK_XLA = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
# A process ends at a flag that its XLA does not know.
if Version(importlib.metadata.version("jaxlib")) < Version("0.11"):
    QUICK_XLA = f"--xla_cpu_use_fusion_emitters=false {QUICK_XLA}"
# Compiled programs are kept for later sessions, but no longer than this.
KEPT_S = 7 * 24 * 3600


def pytest_configure(config: pytest.Config) -> None:
    # What JAX has traced lives as long as the session: it is seldom looked through for garbage.
    gc.set_threshold(100_000, 50, 100)
    # All workers and the processes that they start compile into one place, which JAX reads as it is imported; the
    # user's own caches are left alone unless one is named.
    if config.cache is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        place = config.cache.mkdir("jax")
        for file in place.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > KEPT_S:
                    file.unlink()
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place)
    # Where Python must not write beside the sources, and no bytecode came with the packages, each of the thirty
    # processes of a session would compile all that it imports: 4 s of a core.
    if config.cache is not None and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(config.cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False
    # XLA's newer emitter of fused loops and LLVM's expensive passes take half of all compiling on a CPU. Quick tests do
    # without; the slow ones, those of the container, and those under `XLA_FLAGS= make test` compile as users do.
    if "not slow" in config.option.markexpr:
        os.environ.setdefault("XLA_FLAGS", QUICK_XLA)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
    if config.getoption("numprocesses", default=None):
        # ArviZ writes a file at its first import of the day; of two workers that do so at once, one fails.
        importlib.import_module("arviz")


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in planning.INDEX_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests leave the user's caches alone unless one is named, and keep the programs of all configs that they share."""
    programs.of_family = functools.lru_cache(maxsize=32)(programs.of_family.__wrapped__)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.getbasetemp() / "cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp().parent / "jax-cache"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest with some keys replaced (`a__b=value` for a.b); returns its path."""

    def make(file: str = "manifest.yaml", url: str | None = None, **changes: Any) -> str:
        content = copy.deepcopy(MANIFEST)
        content["output"]["url"] = url or str(tmp_path / "results")
        for dotted, value in changes.items():
            *parents, leaf = dotted.split("__")
            node = content
            for parent in parents:
                node = node.setdefault(parent, {})
            if value is ...:
                node.pop(leaf)
            else:
                node[leaf] = value
        path = tmp_path / file
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return make


@pytest.fixture
def lanewise(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lanewise:
    """Run a command line in this process; returns exit code, standard output and standard error."""
    # Signals of the test run are not the command's.
    monkeypatch.setattr(interrupts, "install", lambda: None)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lanewise", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return code, out, err

    return call


@pytest.fixture
def memory() -> Iterator[str]:
    """An empty memory:// store."""
    fsspec.filesystem("memory").store.clear()
    yield "memory://bucket/run"
    fsspec.filesystem("memory").store.clear()


def tree(root: Path) -> dict[str, bytes]:
    """Every published file below a local output by relative path; what is under _lanewise/ is left out."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and "_lanewise" not in p.parts
    }


def load(path: str, *overrides: str) -> api.Campaign:
    """The campaign of a manifest."""
    return api.load(path, overrides)


class S3:
    """An S3 server of the tests, in a process of its own; see s3_server.py.

    Args:
        careless: it ignores conditions.
        behind: a server that keeps the objects; this one only relays to it, and may die without losing them.
        hanging: that many connections to the relay get no answer.
    """

    def __init__(self, *, careless: bool = False, behind: S3 | None = None, hanging: int = 0) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if behind is None:
            self._arguments = ["s3_server.py", str(self.port), *(["--careless"] if careless else [])]
        else:
            self._arguments = ["relay.py", str(self.port), str(behind.port), str(hanging)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        program, *arguments = self._arguments
        command = [sys.executable, str(Path(__file__).with_name(program)), *arguments]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs; one try a call, so that the tries of the tests are ours."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "never-to-be-seen",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[bool], S3]]:
    """The two kinds of S3 server, each started when first asked for and kept to the end."""
    running: dict[bool, S3] = {}

    def get(careless: bool) -> S3:
        if careless not in running:
            running[careless] = S3(careless=careless)
        return running[careless]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture
def use_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[S3], None]]:
    """Point this process at a server."""
    import s3fs

    def point(server: S3) -> None:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        # Instances are kept by their arguments, and the server's address is not among them.
        s3fs.S3FileSystem.clear_instance_cache()

    yield point
    s3fs.S3FileSystem.clear_instance_cache()
