"""A stand-in for Kubernetes' Job controller: it carries a rendered Indexed Job out by its own rules.

It reads completions, parallelism, backoffLimitPerIndex and podFailurePolicy from the Job itself. What a pod is, a
process or a container, is the caller's: see `Start`.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


class Running(Protocol):
    """What has been started for an index; `subprocess.Popen` is one."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def send_signal(self, sig: int, /) -> None:
        """Send it to the main process."""


# Starts the pod of an index, given the Job.
Start = Callable[[int, dict[str, Any]], Running]
# Disruptions are told by the controller, not by the exit code.
DISRUPTED = "DisruptionTarget"


@dataclass
class Pod:
    """A running pod of an index; `disrupted`: an eviction has marked it."""

    index: int
    process: Running
    began: float = field(default_factory=time.monotonic)
    disrupted: bool = False

    def kill(self) -> None:
        """As the kernel does where memory is short."""
        self.process.send_signal(signal.SIGKILL)

    def evict(self) -> None:
        """As a drained node does: a mark, and a signal."""
        self.disrupted = True
        self.process.send_signal(signal.SIGTERM)


@dataclass
class Outcome:
    """How a Job ended: exit codes of all pods by index, and the indices that succeeded or failed."""

    codes: dict[int, list[int]] = field(default_factory=dict)
    succeeded: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    job_failed: bool = False


def carry_out(job: dict[str, Any], start: Start, meanwhile: Callable[[list[Pod]], None], within_s: float) -> Outcome:
    """Run the Job to its end.

    Args:
        start: see `Start`.
        meanwhile: called again and again with the running pods; it makes the mishaps.
    """
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    left, running, counted = list(range(spec["completions"])), list[Pod](), Counter[int]()
    found, end = Outcome(), time.monotonic() + within_s
    try:
        while (left and not found.job_failed) or running:
            assert time.monotonic() < end, f"not over after {within_s} s: {found}"
            while left and not found.job_failed and len(running) < spec["parallelism"]:
                index = left.pop(0)
                running.append(Pod(index, start(index, job)))
            meanwhile(running)
            for pod, code in [(pod, code) for pod in running if (code := pod.process.poll()) is not None]:
                running.remove(pod)
                # A container that a signal has ended exits with 128 and its number.
                code = code if code >= 0 else 128 - code  # noqa: PLW2901
                found.codes.setdefault(pod.index, []).append(code)
                if code == 0:
                    found.succeeded.add(pod.index)
                    continue
                action = _action(spec["podFailurePolicy"]["rules"], code, disrupted=pod.disrupted)
                counted[pod.index] += action == "Count"
                if action == "FailJob":
                    found.job_failed = True
                elif action == "FailIndex" or counted[pod.index] > spec["backoffLimitPerIndex"]:
                    found.failed.add(pod.index)
                else:
                    left.insert(0, pod.index)
            time.sleep(0.02)
    finally:
        for pod in running:
            pod.kill()
            while pod.process.poll() is None:
                time.sleep(0.02)
    return found


def _action(rules: list[dict[str, Any]], code: int, *, disrupted: bool) -> str:
    """The action of the first rule that matches; without one, the failure counts."""
    for rule in rules:
        if any(one["type"] == DISRUPTED and disrupted for one in rule.get("onPodConditions", ())):
            return str(rule["action"])
        codes = rule.get("onExitCodes")
        if codes is not None and (code in codes["values"]) is (codes["operator"] == "In"):
            return str(rule["action"])
    return "Count"
