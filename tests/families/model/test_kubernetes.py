"""A rendered Job of kind model: the user's code travels in the ConfigMap."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from conftest import Lanewise, load, tree
from families.model.campaigns import MEAN, write

OWN = MEAN.replace("2.0)", "WIDTH)") + "\nfrom parts.widths import WIDTH\n"


def _with_parts(folder: Path, url: Path) -> str:
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "widths.py").write_text("WIDTH = 2.0\n")
    return write(folder, OWN, output={"url": str(url)})


@pytest.mark.long
def test_a_pod_runs_the_mounted_code_and_leaves_the_same_bytes(tmp_path: Path, lanewise: Lanewise) -> None:
    volume = tmp_path / "volume"
    manifest = _with_parts(tmp_path / "code", tmp_path / "here")
    volume.mkdir()
    (tmp_path / "code" / "stars.csv").rename(volume / "stars.csv")
    options = ["--set", f"inputs.table={volume}/stars.csv", "--set", f"output.url={volume}/results"]
    code, text, err = lanewise("render", "kubernetes", manifest, "--image", "i", "--pvc", f"c:{volume}", *options)
    assert (code, err) == (0, "")
    documents = list(yaml.safe_load_all(text))
    for each in documents:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    config, job, _ = documents
    (mounted,) = (one for one in job["spec"]["template"]["spec"]["volumes"] if one["name"] == "manifest")
    # As kubelet does: a folder with a time in its name, and links to what is in it.
    etc = tmp_path / "etc"
    for item in mounted["configMap"]["items"]:
        file = etc / "..2026" / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(config["data"][item["key"]].replace("/etc/lanewise", str(etc)))
    for name in ("manifest.yaml", "code"):
        (etc / name).symlink_to(Path("..2026") / name)
    (tmp_path / "code" / "model.py").unlink()
    (args,) = (one["args"] for one in job["spec"]["template"]["spec"]["containers"])
    args = [word.replace("/etc/lanewise", str(etc)) for word in args]
    assert lanewise(*args, "--batch-index", "0")[0] == 0
    same = _with_parts(tmp_path / "again", tmp_path / "here")
    load(same).run()
    assert tree(volume / "results") == tree(tmp_path / "here")


def test_code_that_no_config_map_holds_is_told(tmp_path: Path, lanewise: Lanewise) -> None:
    path = write(tmp_path, MEAN + f'\nNOTE = "{"x" * 2**20}"\n')
    options = ["--image", "i", "--pvc", f"c:{tmp_path}/volume", "--set", f"output.url={tmp_path}/volume/results"]
    (tmp_path / "volume").mkdir()
    (tmp_path / "stars.csv").rename(tmp_path / "volume" / "stars.csv")
    table = f"inputs.table={tmp_path}/volume/stars.csv"
    code, _, err = lanewise("render", "kubernetes", path, *options, "--set", table)
    assert (code, "the manifest and its code take 10" in err, "FROM lanewise" in err) == (64, True, True), err
