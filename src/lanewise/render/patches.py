"""Strategic merge patches of Kubernetes objects: apply one, and find the one that leads from one object to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lanewise.errors import UsageError
from lanewise.manifest.document import Document

Object = dict[str, Any]

# Lists whose entries have an identity; every other list is replaced as a whole, as Kubernetes does.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "topologySpreadConstraints": "topologyKey",
    "hostAliases": "ip",
}
_DIRECTIVE = "$patch"


def apply(objects: Sequence[Object], patches: Sequence[Document]) -> list[Object]:
    """The objects with every patch merged into those of its kind, and of its name if it has one.

    Raises:
        UsageError: a patch is not an object with a kind, or fits no object.
    """
    found = list(objects)
    for patch in patches:
        wanted = patch.value
        kind = wanted.get("kind") if isinstance(wanted, dict) else None
        if not isinstance(kind, str):
            raise UsageError(
                f"--patch {patch.source}: expected objects with a kind, such as Job, and what changes in it"
            )
        name = (wanted.get("metadata") or {}).get("name")
        fits = [one["kind"] == kind and name in (None, one["metadata"]["name"]) for one in found]
        if not any(fits):
            there = ", ".join(f"{one['kind']} {one['metadata']['name']}" for one in found)
            raise UsageError(f"--patch {patch.source}: fits none of these: {there}; got {kind} {name or ''}")
        found = [merged(one, wanted) if fit else one for one, fit in zip(found, fits, strict=True)]
    return found


def merged(value: Any, patch: Any, key: str = "") -> Any:
    """A value with a strategic merge patch; null removes a key, `$patch: replace` and `$patch: delete` do as they say.

    Args:
        key: under which the value stands, which tells lists with entries that have an identity from others.
    """
    if isinstance(patch, Mapping):
        rest = {name: part for name, part in patch.items() if name != _DIRECTIVE}
        base = value if isinstance(value, Mapping) and patch.get(_DIRECTIVE) != "replace" else {}
        found = {name: part for name, part in base.items() if rest.get(name, part) is not None}
        return found | {name: merged(base.get(name), part, name) for name, part in rest.items() if part is not None}
    if isinstance(patch, list) and (identity := _KEYS.get(key)) and all(isinstance(one, Mapping) for one in patch):
        entries = {one.get(identity): one for one in value or ()}
        for one in patch:
            name = one.get(identity)
            if one.get(_DIRECTIVE) == "delete":
                entries.pop(name, None)
            else:
                entries[name] = merged(entries.get(name), one)
        return list(entries.values())
    return patch


def difference(before: Any, after: Any, key: str = "") -> Any:
    """The patch that leads from one value to the other; None if they are equal."""
    if before == after:
        return None
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        gone = {name: None for name in before if name not in after}
        parts = {name: difference(before.get(name), part, name) for name, part in after.items()}
        return gone | {name: part for name, part in parts.items() if part is not None}
    if isinstance(before, list) and isinstance(after, list) and (identity := _KEYS.get(key)):
        old, new = ({one[identity]: one for one in entries} for entries in (before, after))
        gone_entries = [{identity: name, _DIRECTIVE: "delete"} for name in old if name not in new]
        changed = [(name, difference(old.get(name), one)) for name, one in new.items()]
        return gone_entries + [{identity: name} | part for name, part in changed if part is not None]
    return after
