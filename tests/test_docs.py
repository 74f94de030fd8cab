"""The documents say what the code does today: the reference, the transcripts, and the manifests of the cookbook."""

from __future__ import annotations

import os
import re
import runpy
import shlex
from pathlib import Path

import pytest

from conftest import Lanewise

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# To write the transcripts anew: LANEWISE_WRITE_TRANSCRIPTS=1 pytest tests/test_docs.py
_WRITE = "LANEWISE_WRITE_TRANSCRIPTS"


def test_the_reference_is_what_the_schemas_say() -> None:
    page = runpy.run_path(str(DOCS / "reference.py"))["page"]()
    assert (DOCS / "reference.md").read_text() == page, "run make docs"


def test_the_transcripts_are_what_the_commands_print(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "manifests.md"
    text = written = page.read_text()
    for language, title, content in _FENCE.findall(text):
        if title:
            Path(title).write_text(content)
        if language == "console":
            line = content.splitlines()[0]
            now = f"{line}\n{_said(lanewise, line, monkeypatch)}"
            written = written.replace(content, now)
    if os.environ.get(_WRITE):
        page.write_text(written)
    assert text == written, f"{_WRITE}=1 writes them anew"


def _said(lanewise: Lanewise, line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a line of a transcript prints, on either stream."""
    words = shlex.split(line.removeprefix("$ "))
    with monkeypatch.context() as patch:
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            patch.setenv(name, value)
        assert words.pop(0) == "lanewise"
        _, out, err = lanewise(*words)
    return out + err
