"""podman or docker, and how a test runs a container."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# As a cluster runs it: nothing writable but /tmp and what is mounted, no right, no network.
CONFINED = (
    *("--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none"),
    *("--user", "10001", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)


@dataclass(frozen=True)
class Engine:
    """podman or docker, with the environment it needs here."""

    command: str
    environment: dict[str, str] = field(repr=False)

    def start(self, *args: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [self.command, *args],
            env=self.environment,
            # podman's monitor leaves a file `oom` where it was started when a container runs out of memory.
            cwd=tempfile.gettempdir(),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def run(self, *args: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def must(self, *args: str, timeout: float = 1800) -> str:
        done = self.run(*args, timeout=timeout)
        assert done.returncode == 0, (
            f"{' '.join(args)}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout


@dataclass
class Container:
    """A running container, by the engine's own client that waits for it."""

    engine: Engine
    name: str
    client: subprocess.Popen[str]

    def poll(self) -> int | None:
        """The container's exit code; None while it runs."""
        return self.client.poll()

    def send_signal(self, number: int) -> None:
        """Send it to the container's first process, as soon as there is one."""
        while self.engine.run("kill", "--signal", str(number), self.name).returncode and self.client.poll() is None:
            time.sleep(0.05)


def pod_run(job: dict[str, Any], volumes: dict[str, Path], *more: str, network: str = "none") -> list[str]:
    """The engine's arguments for the only container of a Job's pod."""
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    security = container["securityContext"]
    args = ["run", "--rm", "--network", network, "--workdir", container["workingDir"], *more]
    args += ["--memory", container["resources"]["limits"]["memory"].replace("i", "").lower()]
    args += ["--user", f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"]
    args += ["--read-only"] if security["readOnlyRootFilesystem"] else []
    args += [] if security["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
    args += [f"--cap-drop={name}" for name in security["capabilities"]["drop"]]
    # What a cluster fills in is the name of the node.
    args += [f"--env={each['name']}={each.get('value', 'node-1')}" for each in container.get("env", [])]
    for mount in container["volumeMounts"]:
        if mount["name"] == "tmp":
            args += ["--tmpfs", mount["mountPath"]]
        else:
            access = "ro" if mount.get("readOnly") else "rw"
            args += ["-v", f"{volumes[mount['name']]}:{mount['mountPath']}:{access}"]
    return [*args, container["image"], *container["args"]]
