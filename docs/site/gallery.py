"""Makes the reports of the gallery, build/docs/gallery, of the campaigns that `lanewise init` writes: `make docs`.

A report that is there is not made again. With --quick the campaigns have few realizations: their reports are whole,
their verdicts are not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parents[2] / "build/docs/gallery"
WORK = Path(__file__).parents[2] / "build/campaigns"
LANEWISE = [sys.executable, "-c", "from lanewise.cli import main; main()"]
QUICK = ("--set", "realizations.count=8")
# Kind → what the report shows, and the options of `init`.
REPORTS = {
    "shear": ("1024 galaxies at two shears, as ±g pairs: a bias with its verdict", ()),
    "calibration": ("640 draws from the priors: ranks and coverage", ()),
    "heterodyne": ("a fit of simulated two-time correlations", ("--data", "data/*.h5")),
    "model": ("straight lines with outliers, a data set for each of twelve stars", ()),
}


def main() -> None:
    """Make the reports that are missing, and the page that lists them."""
    WORK.mkdir(parents=True, exist_ok=True)
    TARGET.mkdir(parents=True, exist_ok=True)
    os.chdir(WORK)
    for kind, (_, options) in REPORTS.items():
        if not (TARGET / f"{kind}.html").exists():
            if kind == "heterodyne":
                _run("simulate", "heterodyne", "data")
            _run("init", kind, *options, "--force", "-o", f"{kind}.yaml")
            few = QUICK if "--quick" in sys.argv and kind in ("shear", "calibration") else ()
            _run("run", f"{kind}.yaml", *few)
            _run("aggregate", f"{kind}.yaml", *few)
            (TARGET / f"{kind}.html").write_bytes(Path(f"results/{kind}/report.html").read_bytes())
    lines = [f"- [{kind}](gallery/{kind}.html): {what}.\n" for kind, (what, _) in REPORTS.items()]
    (TARGET.parent / "gallery.md").write_text(
        "# Gallery of reports\n\nWhole reports, as `lanewise aggregate` writes them: one file each, without scripts\n"
        "and network access. Each is that of the first campaign that `lanewise init KIND` writes.\n\n" + "".join(lines)
    )


def _run(*words: str) -> None:
    subprocess.run([*LANEWISE, *words], check=True)


if __name__ == "__main__":
    main()
