"""The five published designs as configurations: each is checked and planned here, and run whole with ``-m slow``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hccflow.lesions import is_read
from hccflow.phantom.shapes import SHAPES
from hccflow.study import load_study
from hccflow.tables import read_table
from mockstudy import ROOT
from workspace import Workspace

#: Stages that a design must have besides those that every study has.
STAGES = {
    "yu2025": {"train_network", "relate"},
    "li2022": {"segment_train", "train_network", "survive"},
    "eob2026": {"train_network", "fuse", "experiment", "survive"},
    "jia2026": {"train_network", "experiment", "survive"},
    "chen2025": {"train_network", "choose", "fuse", "pool", "relate", "survive"},
}


def text_of(name: str) -> str:
    return (ROOT / "studies" / f"{name}.yaml").read_text(encoding="utf-8")


def config_of(name: str) -> dict[str, Any]:
    return yaml.safe_load(text_of(name))


def plan_of(configuration: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "HCCFLOW_DATA"}
    command = [
        sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", "--configfile", configuration, "--dry-run",
        "--forceall", "--quiet", "rules",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_configuration_is_whole_and_says_where_its_values_come_from(name: str) -> None:
    study = load_study(config_of(name), ROOT)
    assert study.name == name
    assert {cohort.card["source"]["kind"] for cohort in study.cohorts.values()} == {"phantom"}
    assert (ROOT / "docs" / "studies" / f"{name}.md").is_file()
    text = text_of(name)
    assert not unmarked(text), "every value of the design says where it comes from"
    forgotten = re.sub(r"(modality: \w+).*", r"\1", text)
    assert [line.split(":")[0] for line in unmarked(forgotten)] == ["modality"], "one without a mark is found"


#: What names the study and its report, and describes no design.
NAMES = {"study", "title", "summary", "data", "report"}


def unmarked(text: str) -> list[str]:
    """Lines of values that bear no mark of their source, neither themselves nor by a key above them."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    depths = [len(line) - len(line.lstrip()) for line in lines]
    above: list[tuple[int, bool]] = []
    found, section = [], ""
    for line, depth, following in zip(lines, depths, [*depths[1:], 0], strict=True):
        section = line.split(":")[0] if depth == 0 else section
        own = re.search(r"\s# (text|sibling|inferred|ours)\b", line) is not None
        above = [*((place, marked) for place, marked in above if place < depth), (depth, own)]
        if section not in NAMES and following <= depth and not any(marked for _, marked in above):
            found.append(line.strip())
    return found


@pytest.mark.parametrize("name", list(SHAPES))
def test_every_study_has_the_guards_of_the_weaknesses_that_its_paper_shows(name: str) -> None:
    config = load_study(config_of(name), ROOT).config
    assert "size" in config["models"], "a baseline that any network must beat"
    assert config["validate"]["bootstrap"] >= 1000
    assert config["survive"]["cut"] == "median", "the cut comes from out-of-fold training scores"
    assert config["primary"]["comparator"]
    assert config["report"]["known_limits"]
    assert all("readers_blinded" in spec for spec in config["endpoints"].values() if is_read(spec)), "said, or not"
    sweeps = config["experiment"].values()
    if len(config["imaging"]["channels"]) > 1:
        assert any("channels" in sweep["auto"] for sweep in sweeps), "does one channel do?"
    if config["survive"]["endpoints"]:
        assert config["survive"]["tau_days"], "restricted means, where hazards are not proportional"
    networks = [model["network"] for model in config["models"].values() if model["kind"] == "network"]
    said = re.findall(r"^ +seeds: (\d+) *(# .*)?$", text_of(name), flags=re.M)
    assert {int(number) for number, _ in said} == {network["seeds"] for network in networks}
    for number, words in said:
        assert int(number) > 1 or "ours: real data take 3 to 5" in words, "one seed is for two cores, and says so"
    tasks = [network["tasks"] for network in networks if len(network.get("tasks", {})) > 1]
    alone = any(len(network.get("tasks", {})) == 1 for network in networks)
    assert not tasks or alone or any("tasks" in sweep["auto"] for sweep in sweeps), "what does a second task give?"


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_plan_of_the_study_can_be_made(name: str) -> None:
    plan = plan_of(f"studies/{name}.yaml")
    jobs = dict(re.findall(r"^(\w+)\s+(\d+)$", plan, flags=re.M))
    assert jobs.keys() >= {"convert", "enrol", "split", "extract", "train", "predict", "validate", "report"}
    assert jobs.keys() >= STAGES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_the_study_runs_from_its_configuration_to_its_report(name: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, *config_of(name)["cohorts"])
    workspace.snakemake("--configfile", f"studies/{name}.yaml", "--quiet", "rules")
    results = tmp_path / "results" / name
    assert (results / "report" / "report.html").stat().st_size > 100_000
    primary = config_of(name)["primary"]
    metrics = read_table(results / "validate" / primary["cohort"] / "metrics.tsv", "metrics")
    row = metrics[
        (metrics["metric"] == primary["metric"])
        & (metrics["model"] == primary["model"])
        & metrics["group"].fillna("").eq("")
        & metrics["repeat"].isna()
    ]
    assert len(row) == 1
    assert row["value"].notna().all()
    assert row["ci_low"].notna().all()
