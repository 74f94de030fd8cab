"""What a command costs: no command of a container walks over the realizations of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from conftest import Lanewise, Write, load
from lanewise.families.shear import family as shear_family
from lanewise.manifest.plan import Single
from lanewise.operations import status


class Counts:
    """How often a realization or an identity was computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.realizations = self.identities = 0
        compute, identify = shear_family._realization, Single.identity

        def realization(*arguments: Any) -> Single:
            self.realizations += 1
            return compute(*arguments)

        def identity(self_: Single, shared: Mapping[str, Any]) -> str:
            self.identities += 1
            return identify(self_, shared)

        monkeypatch.setattr(shear_family, "_realization", realization)
        monkeypatch.setattr(Single, "identity", identity)


MILLION = {"realizations": {"count": 500_000}, "batch": {"size": 3, "width": 4}, "output__layout": "packed"}


@pytest.mark.long
def test_no_command_of_a_container_walks_over_the_campaign(
    write: Write, lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(**MILLION)
    counts = Counts(monkeypatch)
    # A chunk is computed a few times in the life of a run, never all 333 334 of them.
    few = 20 * 3
    for words in (
        ("validate", path),
        ("plan", path, "--no-memory"),
        ("plan", path, "--no-memory", "--json"),
        ("plan", path, "--chunk", "77"),
        ("plan", path),
        ("run", path, "--batch-index", "333333"),
        ("run", path, "--batch-index", "333333"),
        ("run", path, "--batch-index", "333333", "--overwrite"),
        ("status", path),
        ("retry", path),
        ("extend", path, "--count", "1"),
        ("verify", path),
        ("clean", path),
    ):
        counts.realizations = counts.identities = 0
        assert lanewise(*words)[0] == 0, words
        assert counts.realizations <= few, words
        assert counts.identities <= few, words


def test_the_status_of_committed_chunks_computes_no_realization(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    load(write(realizations={"count": 4})).run()
    counts = Counts(monkeypatch)
    campaign = load(write(realizations={"count": 4}))
    assert status.status(campaign.record, "m.yaml").chunks.committed == 4
    assert (counts.realizations, counts.identities) == (0, 0)
