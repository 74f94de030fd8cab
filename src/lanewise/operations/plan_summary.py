"""What `plan` prints: content for programs, and the same as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lanewise.operations import disk, memory
from lanewise.operations.disk import Disk
from lanewise.operations.memory import Memory

if TYPE_CHECKING:
    from lanewise.api import Campaign
    from lanewise.operations.explain import Setting

_SHOWN = 12
_VALUE_WIDTH = 60


def plan(campaign: Campaign, *, needs: bool = False) -> dict[str, Any]:
    """Chunks with their realizations, and which are committed.

    Args:
        needs: compile the program, to tell the memory that a chunk needs and the room for all results.

    Raises:
        ManifestError: one of them is not there.
    """
    done = campaign.commits()
    needed = memory.predict(campaign.manifest, campaign.plan) if needs else None
    room = disk.predict(campaign, needed.record_bytes, frozenset(done)) if needed else None
    return {
        "name": campaign.manifest.name,
        "output": campaign.manifest.output.url,
        "method": campaign.manifest.config.method,
        "width": campaign.plan.settings.get("width"),
        "n_realizations": len(campaign.plan.realizations),
        "memory": vars(needed) if needed else None,
        "disk": vars(room) if room else None,
        "chunks": [
            {
                "index": chunk.index,
                "committed": chunk.index in done,
                "realizations": [
                    {"run_id": r.run_id, "name": r.member.name, "seed": r.member.seed, "identity": r.identity}
                    for r in chunk.realizations
                ],
            }
            for chunk in campaign.plan.chunks
        ],
    }


def plan_text(content: dict[str, Any]) -> str:
    """The plan for a reader: all of a small one, both ends of a large one."""
    chunks = content["chunks"]
    done = sum(chunk["committed"] for chunk in chunks)
    lines = [
        f"{content['name']}: {content['n_realizations']} realizations in {len(chunks)} chunks, "
        f"method {content['method']}" + (f", {content['width']} lanes in flight" if content["width"] else ""),
        f"output: {content['output']} ({done} of {len(chunks)} chunks committed)",
        *([Memory(**content["memory"]).text] if content["memory"] else []),
        *([Disk(**content["disk"]).text] if content["disk"] else []),
        "",
    ]
    middle = len(chunks) > _SHOWN
    for chunk in [*chunks[: _SHOWN // 2], *chunks[-_SHOWN // 2 :]] if middle else chunks:
        ids = [r["run_id"] if r["name"] == r["run_id"] else f"{r['run_id']} {r['name']}" for r in chunk["realizations"]]
        shown = "  ".join(ids) if len(ids) <= 4 else f"{ids[0]} … {ids[-1]}  ({len(ids)})"
        lines.append(f"  chunk {chunk['index']:>5}  {'done' if chunk['committed'] else 'open'}  {shown}")
        if middle and chunk["index"] == _SHOWN // 2 - 1:
            lines.append("      …")
    return "\n".join(lines)


def settings_text(settings: Sequence[Setting]) -> str:
    """Settings in three columns: where it comes from last, since files have long names."""
    paths, values = (max(len(getattr(one, name)) for one in settings) for name in ("path", "value"))
    values = min(values, _VALUE_WIDTH)
    return "\n".join(f"{one.path:<{paths}}  {one.value:<{values}}  {one.origin}" for one in settings)
