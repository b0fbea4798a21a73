"""A study that is pushed, cloned and pulled: nothing is computed again, nothing stale is certified."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hccflow.tables import read_table
from mockstudy import digests
from remotes import Remote, s3_server, ssh_server
from smallstudy import SmallStudy, configuration

ADVICE = "these results come from DVC and Snakemake does not know them yet"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """The finished study, pushed to a folder, in two versions: the commits HEAD~1 and HEAD."""
    study = SmallStudy.make(tmp_path_factory.mktemp("origin"))
    study.dvc("remote", "add", "--default", "shelf", str(tmp_path_factory.mktemp("remote")))
    study.dvc("repro", "--quiet")
    assert study.planned() == {}, "dvc repro has made all that Snakemake wants"
    study.commit("Results")
    study.dvc("push", "--quiet")
    config = configuration()
    config["models"]["radiomics"]["features"] = ["*Mean"]
    study.configure(config)
    study.dvc("repro", "--quiet")
    study.commit("One feature")
    study.dvc("push", "--quiet")
    return study


@pytest.fixture
def clone(origin: SmallStudy, tmp_path: Path) -> SmallStudy:
    """A clone of the last version, pulled."""
    origin.git("clone", "--quiet", str(origin.folder), str(tmp_path / "clone"))
    copy = SmallStudy(tmp_path / "clone")
    copy.dvc("pull", "--quiet")
    return copy


@pytest.fixture(params=["ssh", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A server of each kind."""
    with ssh_server(tmp_path_factory.mktemp("ssh")) if request.param == "ssh" else s3_server() as server:
        yield server


def test_a_study_travels_through_a_server(origin: SmallStudy, remote: Remote, tmp_path: Path) -> None:
    remote.add_to(origin)
    origin.dvc("push", "--quiet", "--remote", remote.name)
    assert remote.url not in (origin.folder / ".dvc/config").read_text(encoding="utf-8"), "git learns no address"
    source = f"{remote.git}{origin.folder}"
    origin.git("-c", f"core.sshCommand={remote.git_ssh}", "clone", "--quiet", source, str(tmp_path / "clone"))
    copy = SmallStudy(tmp_path / "clone")
    assert {path.name for path in (copy.folder / "results").rglob("*") if path.is_file()} <= {".gitignore"}
    remote.add_to(copy)
    copy.dvc("pull", "--quiet", "--remote", remote.name)
    for name in ("results", "data"):
        assert digests(copy.folder / name) == digests(origin.folder / name), "images, models and results are the same"
    copy.hccflow("settle")
    assert copy.planned() == {}
    assert copy.changed() == set()


@pytest.mark.slow
def test_two_hospitals_share_a_model_and_numbers_but_no_pixels(origin: SmallStudy, tmp_path: Path) -> None:
    """The recipe of docs/orchestration.md: the second hospital has its own images only, the first sends its model."""
    origin.git("clone", "--quiet", str(origin.folder), str(tmp_path / "hospital"))
    second = SmallStudy(tmp_path / "hospital")
    shutil.copytree(origin.folder / "data/two/nifti", second.folder / "data/two/nifti")
    assert not (second.folder / "data/one/nifti").exists()
    features, subjects = (
        f"results/small/{end}" for end in ("extract/two/roi-manual/features.tsv", "enrol/two/subjects.tsv")
    )
    second.snakemake(features, subjects)
    shutil.copytree(origin.folder / "results/small/train/radiomics", second.folder / "sent/radiomics")
    second.hccflow(
        "predict", "--train", "sent/radiomics", "--cohort", "two", "--role", "external", "--subjects", subjects,
        "--features", features, "--ledger", "ledger/small.tsv", "--settings", "config.yaml",
        "--out", "judged/radiomics.predictions.tsv",
    )  # fmt: skip
    second.hccflow(
        "validate", "--predictions", "judged/radiomics.predictions.tsv", "--subjects", subjects,
        "--settings", "config.yaml", "--out", "judged",
    )  # fmt: skip
    assert "two" in (second.folder / "ledger/small.tsv").read_text(encoding="utf-8"), "the look is on record"
    here, there = (
        read_table(folder / "metrics.tsv", "metrics").query("model == 'radiomics' and comparator == '' and group == ''")
        for folder in (second.folder / "judged", origin.folder / "results/small/validate/two")
    )
    keys = ["endpoint", "metric", "at"]
    both = here.merge(there, on=keys)
    assert {"auc", "brier"} <= set(both["metric"])
    np.testing.assert_array_equal(both["value_x"], both["value_y"])
    assert not re.search(r"\bE\d{3}\b", (second.folder / "judged/metrics.tsv").read_text(encoding="utf-8"))


def test_two_versions_can_be_compared(origin: SmallStudy) -> None:
    metrics = json.loads(origin.dvc("metrics", "diff", "HEAD~1", "HEAD", "--json"))
    numbers = metrics["results/small/report/metrics.json"]
    assert "two.response.radiomics.brier" in numbers
    assert all(".radiomics." in name for name in numbers), "the other model has not changed"
    params = json.loads(origin.dvc("params", "diff", "HEAD~1", "HEAD", "--json"))
    assert {"models.radiomics.features"} == set(params["config.yaml"])
    page = origin.dvc("plots", "diff", "HEAD~1", "HEAD", "--out", "plots")
    html = next(Path(line.removeprefix("file://")) for line in page.split() if line.endswith(".html"))
    assert '"field": "model"' in html.read_text(encoding="utf-8")


def test_after_clone_and_pull_snakemake_stops_with_one_line_and_settle_makes_both_agree(clone: SmallStudy) -> None:
    lines = [line for line in clone.snakemake("--dry-run", fails=True).splitlines() if ADVICE in line]
    assert len(lines) == 1
    assert "do: hccflow settle (seconds)" in lines[0]
    before = {path: path.read_bytes() for path in (clone.folder / "results").rglob("*") if path.is_file()}
    clone.hccflow("settle")
    assert clone.planned() == {}
    assert clone.changed() == set()
    assert "Nothing to be done" in clone.snakemake()
    after = {path: path.read_bytes() for path in before}
    assert after == before, "settle computes nothing"
    assert "accepted by settle" in clone.hccflow("why", "results/small/report/report.html")


def test_settle_refuses_what_dvc_calls_changed(clone: SmallStudy) -> None:
    config = configuration()
    config["seed"] = 4
    clone.configure(config)
    output = clone.hccflow("settle", fails=True)
    assert "DVC sees changes before settling" in output
    assert "Traceback" not in output
    (clone.folder / "results/small/train/radiomics/freeze.json").unlink()
    clone.git("checkout", "--quiet", "config.yaml")
    assert "train@radiomics" in clone.hccflow("settle", fails=True), "a missing output is a change, too"


def test_another_version_must_be_settled_and_then_a_change_runs_only_what_it_must(clone: SmallStudy) -> None:
    clone.hccflow("settle")
    clone.git("checkout", "--quiet", "HEAD~1")
    clone.dvc("pull", "--quiet")
    assert ADVICE in clone.snakemake("--dry-run", fails=True)
    clone.hccflow("settle")
    assert clone.planned() == {}
    config = configuration()
    config["models"]["radiomics"]["features"] = ["*Energy"]
    clone.configure(config)
    assert set(clone.planned()) == {"train", "predict", "validate", "survive", "report"}
    assert clone.planned()["train"] == 1


def test_links_are_refused_before_anything_runs(clone: SmallStudy) -> None:
    clone.dvc("config", "--local", "cache.type", "symlink")
    for output in (clone.snakemake("--dry-run", fails=True), clone.hccflow("settle", fails=True)):
        assert "certifies a stale result" in output
        assert "Traceback" not in output
