"""Writes the software bill of materials of a release, CycloneDX 1.5, from requirements.lock: `make release`.

The same lock gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def bom(version: str, lock: str) -> dict[str, Any]:
    """The packages of a lock file with their versions, addresses and SHA-256."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component("lanewise", version, "") | {"type": "application"}},
        "components": [_component(*found) for found in _PACKAGE.findall(lock)],
    }


def _component(name: str, version: str, rest: str) -> dict[str, Any]:
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower()}@{version}",
        "hashes": [{"alg": "SHA-256", "content": one} for one in re.findall(r"--hash=sha256:(\w+)", rest)],
    }


if __name__ == "__main__":
    found = bom(sys.argv[1], (ROOT / "requirements.lock").read_text())
    Path(sys.argv[2]).write_text(json.dumps(found, indent=1) + "\n")
