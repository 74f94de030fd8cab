"""podman or docker, and how a test runs a container."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field

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
            [self.command, *args], env=self.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
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
