"""What becomes of a campaign when its storage fails: exit code and sentence of every fault, and that the next run ends.

`python tests/storage/test_fault_table.py` writes docs/storage-faults.md; the test compares it with what happens.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import fsspec
import numpy as np
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import MANIFEST, load
from lanewise import cli
from lanewise.engine.results import Result
from lanewise.machine import interrupts, provenance
from lanewise.manifest.plan import Chunk
from lanewise.manifest.status import LaneStatus
from lanewise.operations import chunks, upkeep
from lanewise.storage import committing, deadlines
from lanewise.storage.deadlines import Patience

TABLE = Path(__file__).parents[2] / "docs" / "storage-faults.md"
HEAD = """# Storage faults

What `lanewise run` does when its storage fails while it writes the data of a chunk, or where a row says otherwise. The
deadline is `LANEWISE_STORAGE_DEADLINE`. After every one of them the same command completes the campaign with the same
bytes. The table is made by the test that provokes each fault in a scripted store (`python
tests/storage/test_fault_table.py`); errors of S3 pass through the translation of its real client.

| fault | exit code | last line |
|---|---|---|
"""
URL = "faulty://bucket/run"
ALWAYS = 1_000_000


def _s3(code: str, status: int = 400) -> Callable[[], Exception]:
    """The error that s3fs makes of an answer of S3."""

    def make() -> Exception:
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]
        from s3fs.errors import translate_boto_error

        answer = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        error: Exception = translate_boto_error(ClientError(answer, "PutObject"))
        return error

    return make


def _botocore(name: str, **fields: Any) -> Callable[[], Exception]:
    def make() -> Exception:
        from botocore import exceptions  # type: ignore[import-untyped]

        error: Exception = getattr(exceptions, name)(**fields)
        return error

    return make


def _dns(number: int, text: str) -> Callable[[], Exception]:
    def make() -> Exception:
        error = _botocore("EndpointConnectionError", endpoint_url="https://s3.example")()
        error.__cause__ = socket.gaierror(number, text)
        return error

    return make


def _status(name: str, number: int, text: str) -> Callable[[], Exception]:
    """An error of the clients of Google and Azure, which are known by their name and status."""
    return lambda: type(name, (Exception,), {"status_code": number})(text)


@dataclass(frozen=True)
class Fault:
    """An error, or None for silence, in `times` calls of a method on paths that end so."""

    error: Callable[[], Exception] | None
    method: str = "pipe_file"
    suffix: str = ".nc"
    times: int = ALWAYS


FAULTS = {
    "the bucket does not exist": Fault(_s3("NoSuchBucket", 404)),
    "access denied (403)": Fault(_s3("AccessDenied", 403)),
    "unknown access key": Fault(_s3("InvalidAccessKeyId", 403)),
    "wrong secret key": Fault(_s3("SignatureDoesNotMatch", 403)),
    "expired token": Fault(_s3("ExpiredToken", 400)),
    "clock of the machine wrong": Fault(_s3("RequestTimeTooSkewed", 403)),
    "no credentials": Fault(_botocore("NoCredentialsError")),
    "unknown profile": Fault(_botocore("ProfileNotFound", profile="mine")),
    "bucket in another region (301)": Fault(_s3("PermanentRedirect", 301)),
    "slow down (503), then well": Fault(_s3("SlowDown", 503), times=1),
    "slow down (503), always": Fault(_s3("SlowDown", 503)),
    "internal error (500), always": Fault(_s3("InternalError", 500)),
    "conflict of two conditional writes (409), then well": Fault(
        _s3("ConditionalRequestConflict", 409), suffix=".commit", times=1
    ),
    "conditional writes not implemented (501)": Fault(_s3("NotImplemented", 501), suffix="conditions"),
    "object too large": Fault(_s3("EntityTooLarge", 400)),
    "name too long": Fault(_s3("KeyTooLongError", 400)),
    "host name does not exist": Fault(_dns(socket.EAI_NONAME, "Name or service not known")),
    "resolver gives no answer, always": Fault(_dns(socket.EAI_AGAIN, "Temporary failure in name resolution")),
    "proxy wants a password (407)": Fault(_botocore("ProxyConnectionError", proxy_url="http://proxy", error="407")),
    "connection refused, always": Fault(lambda: ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")),
    "connection reset, then well": Fault(lambda: ConnectionResetError(errno.ECONNRESET, "reset"), times=1),
    "certificate not trusted": Fault(_botocore("SSLError", endpoint_url="https://s3.example", error="self-signed")),
    "no answer, always": Fault(None),
    "no answer, then well": Fault(None, times=1),
    "written object seen late (HEAD 404), then well": Fault(_s3("404", 404), "info", times=1),
    "written object never seen (HEAD 404)": Fault(_s3("404", 404), "info"),
    "reading refused": Fault(_s3("AccessDenied", 403), "cat_file", ".commit"),
    "listing refused": Fault(_s3("AccessDenied", 403), "ls", "commits/00000"),
    "deleting refused": Fault(_s3("AccessDenied", 403), "rm", ".incomplete"),
    "Google: no permission (403)": Fault(lambda: OSError("Forbidden: no storage.objects.create")),
    "Google: too many requests (429), then well": Fault(_status("HttpError", 429, "Too many requests"), times=1),
    "Azure: container does not exist": Fault(_status("ResourceNotFoundError", 404, "ContainerNotFound")),
    "Azure: credentials refused (401)": Fault(_status("ClientAuthenticationError", 401, "AuthenticationFailed")),
}


class Faulty(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store in memory with one fault."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fault: ClassVar[Fault | None] = None
    left: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://")))


def _with_faults(name: str) -> Callable[..., Any]:
    def call(self: Faulty, path: str, *arguments: Any, **fields: Any) -> Any:
        fault = Faulty.fault
        if fault is not None and fault.method == name and path.endswith(fault.suffix) and Faulty.left > 0:
            Faulty.left -= 1
            if fault.error is None:
                time.sleep(_SILENT_S)
            else:
                raise fault.error()
        return getattr(MemoryFileSystem, name)(self, path, *arguments, **fields)

    return call


for _name in ("pipe_file", "cat_file", "info", "ls", "rm"):
    setattr(Faulty, _name, _with_faults(_name))
_DEADLINE_S, _TRY_S, _SILENT_S = 1.0, 0.3, 1.5


class StandIn:
    """In the engine's place: results from the seed."""

    made: ClassVar[dict[str, Any]] = {}

    def run(self, chunk: Chunk, *_: Any) -> list[Result]:
        draws = {one.run_id: np.random.default_rng(one.planned.seed).normal(size=(1, 20)) for one in chunk.realizations}
        return [
            Result(r.run_id, r.planned.seed, LaneStatus.OK, "", "map", r.planned.truth, {"g1": draws[r.run_id]})
            for r in chunk.realizations
        ]


@contextlib.contextmanager
def weather(fault: Fault | None) -> Iterator[None]:
    """An empty store with this fault, the stand-in, and short deadlines."""
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    Faulty.store.clear()
    if fault is not None and fault.error is not None:
        fault.error()  # what it imports must not take the time of a try
    Faulty.fault, Faulty.left = fault, fault.times if fault else 0
    nowhere = dict.fromkeys(("host", "platform", "device", "processor"), "none")
    with (
        mock.patch.object(chunks, "solver", return_value=StandIn()),
        mock.patch.object(provenance, "machine", return_value=nowhere),
        mock.patch.object(interrupts, "install"),
        mock.patch.object(committing, "_PAUSES_S", (0.0, 0.0)),
        mock.patch.object(deadlines, "from_environment", return_value=Patience(_DEADLINE_S, _TRY_S)),
    ):
        yield


def run(path: str, *options: str) -> tuple[int, str]:
    """Exit code and last line of `lanewise run`; numbers of tries and seconds are left out."""
    err = io.StringIO()
    with (
        mock.patch("sys.argv", ["lanewise", "run", path, *options]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    lines = err.getvalue().strip().splitlines()
    text = re.sub(r"\d{8}T\d{6}-[0-9a-f]{8}", "<attempt>", lines[-1] if lines else "")
    return int(ended.value.code or 0), re.sub(r"\d+ (try|tries) in \d+ s", "n tries in t s", text)


def manifest(place: Path) -> str:
    content = copy.deepcopy(MANIFEST)
    content["output"]["url"] = URL
    content["shear"] = {"grid": [0.01]}
    path = place / "manifest.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def row(name: str, code: int, text: str) -> str:
    return f"| {name} | {code} | {text.replace('|', chr(92) + '|') or '–'} |"


def _published() -> dict[str, bytes]:
    return {name: file.getvalue() for name, file in Faulty.store.items() if "_lanewise" not in name}


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.slow] * (one.endswith("always") or "trusted" in one)) for one in FAULTS],
)
def test_fault_ends_as_the_table_says_and_the_next_run_completes(tmp_path: Path, name: str) -> None:
    path = manifest(tmp_path)
    with weather(None):
        assert run(path) == (0, "")
        whole = _published()
    with weather(FAULTS[name]):
        code, text = run(path)
        if FAULTS[name].times == ALWAYS:
            assert Faulty.left < ALWAYS, "the fault was met"
        assert row(name, code, text) in TABLE.read_text().splitlines()
        Faulty.fault = None
        assert run(path) == (0, "")
        assert _published() == whole
        found = upkeep.verify(load(path).record)
        assert (found.findings, found.incomplete, found.n_chunks) == ((), (), 1)


def test_role_without_the_right_to_delete_carries_a_campaign_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest(tmp_path)
    monkeypatch.setenv(deadlines.KEEP_VARIABLE, "")
    with weather(None):
        assert run(path) == (0, "")
        whole = _published()
    with weather(Fault(_s3("AccessDenied", 403), "rm", "")):
        assert run(path, "--no-delete") == (0, "")
        assert Faulty.left == ALWAYS
        assert _published() == whole
        found = upkeep.verify(load(path).record)
        assert (found.findings, found.incomplete) == ((), ())
        assert run(path, "--no-delete") == (0, "")
        assert run(path, "--overwrite", "--no-delete")[0] == 64


def test_table_has_every_fault() -> None:
    assert len(FAULTS) >= 25
    lines = TABLE.read_text().removeprefix(HEAD).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == list(FAULTS)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        path = manifest(Path(place))
        rows = []
        for name, fault in FAULTS.items():
            with weather(fault):
                rows.append(row(name, *run(path)))
    TABLE.write_text(HEAD + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
