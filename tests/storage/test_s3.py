"""Storage on real S3 servers: what they answer, and what becomes of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import S3, Write, load
from lanewise import cli
from lanewise.errors import StorageError, StorageTimeout
from lanewise.machine.progress import Silent
from lanewise.storage import commits
from lanewise.storage.commits import File
from lanewise.storage.deadlines import Patience
from lanewise.storage.store import Store

Servers = Callable[[bool], S3]
UseS3 = Callable[[S3], None]
URL = "s3://bucket/run"


@pytest.mark.parametrize("careless", [False, True])
def test_a_store_is_asked_whether_it_honours_conditions(servers: Servers, use_s3: UseS3, careless: bool) -> None:
    use_s3(servers(careless))
    store = Store(f"{URL}-probe")
    assert store.conditional is not careless
    assert store.names("_lanewise/probes") == ["conditions"]


def test_what_is_written_by_another_client_is_seen_at_once(servers: Servers, use_s3: UseS3) -> None:
    use_s3(servers(False))
    ours, theirs = Store(f"{URL}-fresh"), Store(f"{URL}-fresh")
    assert (ours.names("a"), ours.exists("a/x")) == ([], False)
    theirs.put("a/x", b"1")
    assert (ours.names("a"), ours.exists("a/x"), ours.read("a/x"), ours.size("a/x")) == (["x"], True, b"1", 1)
    assert ours.create("a/x", b"2") is False
    theirs.remove("a")
    assert (ours.names("a"), ours.sizes("a")) == ([], {})
    with pytest.raises(FileNotFoundError):
        ours.read("a/x")


@pytest.mark.slow
def test_more_names_than_one_answer_holds_are_all_listed(servers: Servers, use_s3: UseS3) -> None:
    use_s3(servers(False))
    store = Store(f"{URL}-many")
    names = [f"{n:05d}.commit" for n in range(1100)]  # S3 answers with a thousand at a time
    store.map(lambda name: store.put(f"{commits.COMMITS}/{name}", b"x"), names)
    assert store.names(commits.COMMITS) == names
    assert commits.indices(store) == set(range(1100))


def test_without_conditions_the_lowest_attempt_counts(servers: Servers, use_s3: UseS3, write: Write) -> None:
    use_s3(servers(True))
    campaign = load(write(url=f"{URL}-lowest"))
    chunk, store = campaign.plan.chunks[0], campaign.store
    commit = commits.Commit(0, "", File("a.nc", 0, ""), File("a.rows", 0, ""), None, {}, {}, {}, {})
    for attempt in ("20260102T000000-b", "20260101T000000-a"):
        store.put(commits.path_of(chunk, attempt), commits.encode(replace(commit, attempt=attempt)))
    for found in (commits.read(store, chunk), commits.survey(store, [0])[0][0]):
        assert found is not None
        assert found.attempt == "20260101T000000-a"
    assert commits.indices(store) == {0}


def test_a_missing_bucket_is_one_clear_message(servers: Servers, use_s3: UseS3) -> None:
    use_s3(servers(False))
    with pytest.raises(StorageError, match=r"s3://absent/run/x: cannot be written: .*create the bucket first"):
        Store("s3://absent/run").put("x", b"1")


def test_wrong_credentials_are_one_clear_message_and_not_shown(
    servers: Servers, use_s3: UseS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(servers(False))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    with pytest.raises(StorageError, match=r"s3://bucket/run/x: refused: .*; check the credentials") as caught:
        Store(URL).put("x", b"1")
    assert "never-to-be-seen" not in str(caught.value)
    with pytest.raises(StorageError, match="refused"):
        Store(URL).names("a")


@pytest.mark.parametrize(
    ("url", "key", "text"),
    [
        ("s3://absent/run", "somebody", "create the bucket first"),
        ("s3://bucket/refused", "wrong", "check the credentials"),
    ],
)
def test_a_run_that_cannot_write_ends_with_one_line_and_74(
    servers: Servers,
    use_s3: UseS3,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    key: str,
    text: str,
) -> None:
    use_s3(servers(False))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setattr("sys.argv", ["lanewise", "run", write(url=url)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n"), text in told) == (74, 1, True)


@pytest.mark.parametrize("careless", [False, True])
def test_a_run_says_whether_a_store_honours_conditions(
    servers: Servers, use_s3: UseS3, write: Write, careless: bool
) -> None:
    use_s3(servers(careless))
    told: list[str] = []

    class Heard(Silent):
        def say(self, event: str, text: str, **fields: object) -> None:
            told.append(text)

    load(write(url=f"{URL}-told-{careless}")).run(0, progress=Heard())
    assert any("has no conditional writes" in text for text in told) is careless


@pytest.mark.long
def test_connections_that_hang_do_not_keep_new_ones_from_being_made(servers: Servers, use_s3: UseS3) -> None:
    """A client has ten connections: hung tries that held them all once kept every later try from the server."""
    relay = S3(behind=servers(False), hanging=20)
    try:
        use_s3(relay)
        store = Store(f"{URL}-hanging", Patience(deadline_s=60, try_s=1.5))
        store.map(lambda n: store.put(f"{n}", b"1"), range(20))
        assert len(store.names("")) == 20
    finally:
        relay.kill()


@pytest.mark.long
def test_a_server_that_stops_answering_is_waited_for_until_the_deadline(use_s3: UseS3) -> None:
    server = S3()
    try:
        use_s3(server)
        store = Store(URL, Patience(deadline_s=60, try_s=2))
        store.put("x", b"1")
        server.send(signal.SIGSTOP)
        threading.Timer(3.0, server.send, [signal.SIGCONT]).start()
        store.put("x", b"2")
        assert store.read("x") == b"2"
        server.send(signal.SIGSTOP)
        with pytest.raises(StorageTimeout, match="gave no answer"):
            Store(URL, Patience(deadline_s=2, try_s=1)).read("x")
        server.send(signal.SIGCONT)
        assert store.read("x") == b"2"
    finally:
        server.kill()


def test_a_server_that_comes_back_is_reached_again(use_s3: UseS3) -> None:
    server = S3()
    try:
        use_s3(server)
        store = Store(URL, Patience(deadline_s=90, try_s=20))
        store.put("x", b"1")
        server.kill()
        back = threading.Timer(1.0, server.start)
        back.start()
        store.put("y", b"2")
        back.join()
        assert store.read("y") == b"2"
    finally:
        server.kill()


def test_a_server_that_is_gone_is_unreachable(use_s3: UseS3, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_MAX_ATTEMPTS", "1")):
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        Store(URL, Patience(deadline_s=3, try_s=20)).put("x", b"1")
    assert caught.value.exit_code == 74


def test_requester_pays_and_path_style_are_settings_of_the_environment() -> None:
    program = (
        "from lanewise.storage.store import Store; fs = Store('s3://bucket/run')._fs;"
        "print(fs.req_kw, fs.config_kwargs['s3'])"
    )
    settings = {"FSSPEC_S3": '{"requester_pays": true, "config_kwargs": {"s3": {"addressing_style": "path"}}}'}
    environment = {**os.environ, **settings}
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert told.stdout == "{'RequestPayer': 'requester'} {'addressing_style': 'path'}\n"


def test_no_credential_enters_a_campaign(servers: Servers, use_s3: UseS3, write: Write, tmp_path: Path) -> None:
    use_s3(servers(False))
    campaign = load(write(url=f"{URL}-secret"))
    campaign.run(0)
    store, paths = campaign.store, ["_lanewise/manifest.yaml", "_lanewise/commits/00000.commit"]
    assert not [path for path in paths if b"never-to-be-seen" in store.read(path) or b"somebody" in store.read(path)]
