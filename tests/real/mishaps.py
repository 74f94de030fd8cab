"""A campaign on S3 of twelve chunks, one of them poisoned, and what happens to its pods while they run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conftest import S3, load
from lanewise.operations import upkeep
from lanewise.storage import commits
from lanewise.storage.store import HOME, Store
from real.job import Outcome, Pod

N, POISONED, EVICTED = 12, 5, 4
OK, KILLED, TERMINATED = 0, 137, 143
WITHIN_S, DOWN_S = 500.0, 3.0


@dataclass
class Mishaps:
    """Kills the pods of three chunks, evicts one, and restarts the storage once.

    Args:
        relay: what stands before the storage, and goes down when four chunks are committed.
        front: the campaign's storage.
        kills: chunk → time after the start of its pod [s].
        evicted_after_s: the same for the pod that is evicted.
    """

    relay: S3
    front: Store
    kills: Mapping[int, float]
    evicted_after_s: float
    _killed: set[int] = field(default_factory=set)
    _evicted: bool = False
    _restarted: bool = False

    def __call__(self, running: list[Pod]) -> None:
        now = time.monotonic()
        for pod in running:
            if now - pod.began > self.kills.get(pod.index, np.inf) and pod.index not in self._killed:
                self._killed.add(pod.index)
                pod.kill()
            elif pod.index == EVICTED and not self._evicted and now - pod.began > self.evicted_after_s:
                self._evicted = True
                pod.evict()
        if not self._restarted and len(commits.indices(self.front)) >= 4:
            self._restarted = True
            self.relay.kill()
            time.sleep(DOWN_S)
            self.relay.start()

    @property
    def all_made(self) -> bool:
        return self._killed == set(self.kills) and self._evicted and self._restarted


def campaign(base: str, tmp_path: Path) -> dict[str, Any]:
    """Keys of the manifest: twelve images below the URL, a chunk each, one of which is all NaN."""
    rng = np.random.default_rng(1)
    images = rng.normal(scale=1e-3, size=(N, 24, 24)) + np.exp(-np.square(np.indices((24, 24)) - 11.5).sum(0) / 20)
    images[POISONED] = np.nan
    np.save(tmp_path / "stamps.npy", images)
    Store(base).put("stamps.npy", (tmp_path / "stamps.npy").read_bytes())
    return {
        "shear": ...,
        "realizations": ...,
        "observations": {"images": f"{base}/stamps.npy"},
        "batch__size": 1,
        # The blobs are not galaxies of the model, and need not be.
        "convergence": {"misfit_p_min": 0},
        "resources": {"cpus": 1, "device": "cpu", "memory": "3Gi"},
    }


def check(path: str, found: Outcome, mishaps: Mishaps, undisturbed: str) -> None:
    """The Job succeeded by its rules, the campaign is complete, and its files are those of the undisturbed run."""
    assert mishaps.all_made
    assert (found.succeeded, found.failed, found.job_failed) == (set(range(N)), set(), False), found
    assert [found.codes[index] for index in mishaps.kills] == [[KILLED, OK]] * len(mishaps.kills)
    # Before its handler is set, the signal itself ends a process.
    assert found.codes[EVICTED] in ([TERMINATED, OK], [OK])
    record = load(path).record
    counts = [dict(record.commits()[index].counts) for index in range(N)]
    assert sum(count == {"ok": 1} for count in counts) == N - 1
    assert counts[POISONED] != {"ok": 1}
    assert _published(record.store) == _published(Store(undisturbed))
    assert upkeep.verify(record).findings == ()


def _published(store: Store) -> dict[str, bytes]:
    return {path: store.read(path) for path in sorted(store.sizes_below("")) if not path.startswith(f"{HOME}/")}
