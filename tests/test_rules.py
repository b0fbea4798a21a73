"""The DAG over mock trees: what runs, what does not, and what can never reach training."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mockstudy import ROOT, changed, default_config, write_mock


def snakemake(data: Path, *arguments: str, check: bool = True) -> str:
    """Run snakemake in the repository on a mock data folder; return what it printed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", *arguments]
    env = {**os.environ, "HCCFLOW_DATA": str(data)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mock(tmp_path_factory.mktemp("mock"))


def job_graph(data: Path, *arguments: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Jobs (node -> label; labels leave out wildcards that producers share) and edges between nodes."""
    dot = snakemake(data, "--forceall", "--dag", "dot", *arguments)
    labels = dict(re.findall(r'(\d+)\[label = "([^"]+)"', dot))
    return labels, re.findall(r"(\d+) -> (\d+)", dot)


def test_no_path_leads_from_a_judging_cohort_to_training(data: Path) -> None:
    labels, edges = job_graph(data)
    todo = [node for node, label in labels.items() if label.startswith(("train", "segment_train"))]
    assert len(todo) >= len(default_config()["models"]) + default_config()["split"]["folds"]
    reached: set[str] = set()
    while todo:
        job = todo.pop()
        reached.add(job)
        todo += [producer for producer, consumer in edges if consumer == job and producer not in reached]
    sources = {labels[job] for job in reached if labels[job].startswith("phantom")}
    assert sources == {"phantom\\ncohort: phantom-dev"}
    assert {labels[job] for job in labels if labels[job].startswith("phantom")} > sources, "the others are in the DAG"


def test_no_file_of_a_judging_cohort_is_read_on_the_way_to_training(data: Path) -> None:
    """Files, not jobs: a table that no job makes has no node in the DAG."""
    jobs = []
    for text in re.split(r"\n(?=(?:local)?rule \w+:)", snakemake(data, "--dry-run", "--forceall"))[1:]:
        rule = re.search(r"rule (\w+):", text)
        files = {kind: re.search(rf"^ +{kind}: (.+)$", text, flags=re.M) for kind in ("input", "output")}
        jobs.append((rule[1] if rule else "", *(set(m[1].split(", ")) if m else set() for m in files.values())))
    needed = {
        rule: read for rule, read, _ in jobs if rule.startswith(("train", "segment_train", "fuse", "odds_ratios"))
    }
    assert set(needed) == {"train", "train_fold", "train_network", "segment_train", "fuse", "odds_ratios"}
    todo, reached = set().union(*(read for rule, read, _ in jobs if rule in needed)), set()
    while todo:
        file = todo.pop()
        reached.add(file)
        todo |= {f for _, read, made in jobs if file in made for f in read} - reached
    assert any(f"{data}/phantom-dev/participants.tsv" == file for file in reached)
    assert not [file for file in reached if "phantom-ext" in file or "phantom-fup" in file]


def test_every_stage_has_a_target(data: Path) -> None:
    for stage in ("phantom", "convert", "enrol", "segment", "extract", "train", "validate", "survive"):
        assert f"all_{stage}" in snakemake(data, "--dry-run", f"all_{stage}")


def test_several_external_cohorts_are_pooled_and_one_is_not(data: Path, tmp_path: Path) -> None:
    assert "pool" not in job_graph(data)[0].values()
    two = write_mock(tmp_path)
    participants = two / "phantom-fup" / "participants.tsv"
    participants.write_text(participants.read_text(encoding="utf-8").replace("D0", "F0"), encoding="utf-8")
    config = tmp_path / "config.yaml"
    text = yaml.safe_dump(changed(default_config(), "cohorts.phantom-fup", {"role": "external"}))
    config.write_text(text, encoding="utf-8")
    labels, edges = job_graph(two, "--configfile", str(config))
    job = next(node for node, label in labels.items() if label == "pool")
    assert {labels[consumer] for producer, consumer in edges if producer == job} >= {"report"}


def test_jobs_are_batches(tmp_path: Path) -> None:
    text = snakemake(write_mock(tmp_path, n_batches=5, dev=200, ext=100, fup=50), "--dry-run", "--quiet", "rules")
    counts = dict(re.findall(r"^(convert|segment_predict|extract)\s+(\d+)$", text, flags=re.M))
    assert counts == {"convert": "15", "segment_predict": "15", "extract": "30"}, "of two regions"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("primary.cohort", "nobody", "unknown cohort 'nobody'"),
        (
            "models.clinical.columns",
            ["os_days"],
            "predictor 'os_days' is available only with the outcome, after the index date",
        ),
        ("extrat", {}, "unknown key 'extrat'"),
    ],
)
def test_a_mistake_stops_snakemake_with_one_line(
    data: Path, tmp_path: Path, key: str, value: object, words: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(changed(default_config(), key, value)), encoding="utf-8")
    output = snakemake(data, "--dry-run", "--configfile", str(config), check=False)
    lines = [line for line in output.splitlines() if words in line]
    assert len(lines) == 1
    assert "Traceback" not in output


def test_a_study_without_images_skips_convert(tmp_path: Path) -> None:
    data = write_mock(tmp_path)
    for cohort in ("phantom-dev", "phantom-ext", "phantom-fup"):
        card = data / cohort / "cohort.yaml"
        text = yaml.safe_load(card.read_text(encoding="utf-8"))
        text["source"] = {"kind": "table"}
        card.write_text(yaml.safe_dump(text), encoding="utf-8")
        (data / cohort / "features.tsv").write_text("subject\n", encoding="utf-8")
    config = {
        key: part for key, part in default_config().items() if key not in ("imaging", "segment", "crops", "relate")
    }
    config["eligibility"] = [rule for rule in config["eligibility"] if "images" not in rule]
    config["extract"] = {"rois": {"manual": {"source": "table"}}}
    config["models"] = {name: config["models"][name] for name in ("clinical", "radiomics")}
    config["survive"]["models"] = ["radiomics"]
    path = tmp_path / "tables.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    plan = snakemake(data, "--dry-run", "--quiet", "rules", "--configfile", str(path))
    assert not re.search(r"^convert\s", plan, flags=re.M)
    assert re.search(r"^extract_import\s+3$", plan, flags=re.M)


def test_variants_are_trained_like_models_and_judged_in_no_cohort_that_is_not_named(data: Path, tmp_path: Path) -> None:
    sweep = {"of": "clinical", "vary": {"learner": ["ridge", "firth"]}}
    config = changed(default_config(), "experiment", {"learners": sweep})
    config["models"]["best"] = {"kind": "choice", "endpoint": "response", "choose": {"among": "learners"}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    labels, edges = job_graph(data, "--configfile", str(path))
    trained = {label for label in labels.values() if label.startswith("train\\n")}
    assert {"train\\nmodel: clinical__learner_ridge", "train\\nmodel: clinical__learner_firth"} <= trained
    experiment = next(node for node, label in labels.items() if label == "experiment")
    makers = {labels[producer] for producer, consumer in edges if consumer == experiment}
    assert {label.split("\\n")[0] for label in makers} == {"train"}, "it sees development scores only"
    assert "report" in {labels[consumer] for producer, consumer in edges if producer == experiment}
    ridge = next(node for node, label in labels.items() if label == "train\\nmodel: clinical__learner_ridge")
    assert "report" in {labels[consumer] for producer, consumer in edges if producer == ridge}, "it may be chosen"
    choice = next(node for node, label in labels.items() if label.startswith("choose"))
    assert len([1 for _, consumer in edges if consumer == choice]) >= 3
    assert not [label for label in labels.values() if label.startswith("predict") and "clinical__" in label]
    path.write_text(yaml.safe_dump(changed(config, "experiment.learners.cohorts", ["phantom-ext"])), encoding="utf-8")
    plan = snakemake(data, "--dry-run", "--quiet", "rules", "--configfile", str(path))
    looks = snakemake(data, "results/phantom/validate/phantom-ext/metrics.tsv", "--dry-run", "--configfile", str(path))
    assert "clinical__learner_firth.predictions.tsv" in looks
    assert re.search(r"^choose\s+1$", plan, flags=re.M)


def test_a_choice_among_networks_has_maps_and_deep_features_by_the_networks_of_its_candidates(
    data: Path, tmp_path: Path
) -> None:
    config = changed(default_config(), "experiment", {"sizes": {"of": "deep", "vary": {"network.width": [4]}}})
    config["models"]["best"] = {"kind": "choice", "endpoint": "response", "choose": {"among": "sizes"}}
    config["relate"]["signatures"]["taken"] = {"network": "best", "components": 2}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    labels, edges = job_graph(data, "--configfile", str(path))
    choice = next(node for node, label in labels.items() if label.startswith("choose"))
    maps = [user for maker, user in edges if maker == choice and labels[user].startswith("explain")]
    assert len(maps) == 3, "one a cohort"
    makers = {labels[producer] for producer, consumer in edges if consumer == maps[0]}
    folds = {label for label in makers if label.startswith("train_fold")}
    assert {label.split("model: ")[1].split("\\n")[0] for label in folds} == {"deep", "deep__width_4"}
    users = {labels[consumer].split("\\n")[0] for producer, consumer in edges if producer in maps}
    assert {"relate_fit", "relate", "report"} <= users


def test_networks_ask_for_the_memory_of_their_crops(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    config = changed(default_config(), "crops.tumour.size", [224, 224, 64])
    config = changed(config, "experiment", {"sizes": {"of": "deep", "vary": {"network.width": [4]}}})
    config["models"]["best"] = {"kind": "choice", "endpoint": "response", "choose": {"among": "sizes"}}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    plan = snakemake(data, "--dry-run", "--forceall", "--configfile", str(path))
    asked = dict[tuple[str, ...], set[int]]()
    jobs = r"^rule (train_fold|train_network|fuse|predict|explain):$(.*?)mem_mb=(\d+)"
    for rule, about, memory in re.findall(jobs, plan, flags=re.M | re.S):
        named = re.findall(r"(?:cohort|model)=([\w-]+)", about)
        asked.setdefault((rule, *named), set()).add(int(memory))

    def crops(cohort: str) -> int:
        cases = len((data / cohort / "participants.tsv").read_text(encoding="utf-8").splitlines()) - 1
        return math.ceil(4 * cases * 3 * 224 * 224 * 64 * 4 / 1e6)  # two channels and the mask

    networks = ("deep", "deep__width_4")
    wanted = {
        (rule, model): 3000 + crops("phantom-dev") for rule in ("train_fold", "train_network") for model in networks
    }
    for cohort in config["cohorts"]:
        wanted |= {("predict", cohort, model): 2000 for model in config["models"]}
        for model in ("deep", "best"):  # a choice among networks sees the same crops
            wanted["predict", cohort, model] = 2000 + crops(cohort)
            wanted["explain", cohort, model] = 3000 + crops(cohort)
    fusions = {("fuse", name): 2000 for name, spec in config["models"].items() if spec["kind"] == "fusion"}
    assert fusions and asked == {key: {value} for key, value in (wanted | fusions).items()}
