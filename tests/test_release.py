"""What a release consists of."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_bill_of_materials_has_every_package_of_the_lock_with_its_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    found = runpy.run_path(str(ROOT / ".ci/sbom.py"))["bom"]("0.2.0", lock)
    assert found["metadata"]["component"]["version"] == "0.2.0"
    pins = re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    assert [(one["name"], one["version"]) for one in found["components"]] == pins
    hashes = [one["content"] for part in found["components"] for one in part["hashes"]]
    assert hashes == re.findall(r"--hash=sha256:([0-9a-f]{64})", lock)
