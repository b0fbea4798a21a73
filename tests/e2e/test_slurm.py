"""The micro study on a real SLURM cluster of two nodes, one of which loses power in the middle.

The cluster is made by tests/slurm_cluster.sh, which needs root and Debian's SLURM; where either is missing these tests
are skipped with the reason. They prove submission, resources, requeueing, retries and status checks against real
daemons; not accounting (there is no database) and not the enforcement of memory or GPUs (there are no cgroups).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mockstudy import ROOT, digests

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

GPU_RULES = ("segment_train", "segment_predict", "train_fold", "train_network")
SITE: dict[str, Any] = {
    "default-resources": {"slurm_partition": "cpu"},
    "set-resources": {rule: {"slurm_partition": "gpu", "gpu": 1, "gpu_model": "fake"} for rule in GPU_RULES},
    "set-threads": {"convert": 3, "extract": 3, "crop": 2},
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 1,
    "seconds-between-status-checks": 2,
}


class Cluster:
    """A running cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def stop(self) -> None:
        """Stop the cluster, and what a failed test has left running."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.do("down")

    def do(self, action: str, *node: str) -> None:
        """Run an action of the script."""
        command = ["bash", str(ROOT / "tests" / "slurm_cluster.sh"), action, str(self.folder), *node]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @staticmethod
    def jobs() -> list[dict[str, str]]:
        """What SLURM knows of every job that there has been, in order of submission."""
        done = subprocess.run(["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True)
        rows = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in done.stdout.splitlines() if "Comment=" in line]
        return sorted(rows, key=lambda row: int(row["JobId"]))


def rule_of(job: dict[str, str]) -> str:
    """Rule (or group of rules) of a job: the plugin writes it into the comment."""
    return re.sub(r"^(?:rule|group)_|_wildcards.*$", "", job["Comment"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with four cores each, a GPU that is only counted on the first."""
    if os.geteuid() != 0:
        pytest.skip("a cluster of one's own needs root")
    if shutil.which("slurmctld") is None:
        pytest.skip("SLURM is not installed: bash tests/slurm_cluster.sh install")
    running = Cluster(tmp_path_factory.mktemp("slurm"))
    running.do("up")
    yield running
    running.stop()


def start(cluster: Cluster, checkout: Any, *command: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a checkout with the cluster's profile and the site's, as a user would export them."""
    site = checkout.folder / "profiles" / "site"
    site.mkdir(exist_ok=True)
    (site / "config.yaml").write_text(yaml.safe_dump(SITE), encoding="utf-8")
    profiles = json.dumps(["profiles/slurm", "profiles/site"])
    environment = {**checkout.environment, "SNAKEMAKE_PROFILE": profiles}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=checkout.folder, env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    cluster.processes.append(process)
    return process


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """First true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.5)
    pytest.fail(f"waited {seconds:.0f} s in vain for {what}")


def leave_out_networks_that_predict(checkout: Any) -> None:
    """Fewer jobs of each kind: what is asked here is how they run. Segmentation stays, for the GPU."""
    file = checkout.folder / "config.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["models"] = {name: config["models"][name] for name in ("clinical", "radiomics")}
    config["survive"]["models"] = ["clinical", "radiomics"]
    config["segment"]["iterations"] = 10
    del config["extract"]["rois"]["nnunet"], config["crops"]
    config.pop("relate", None)
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def here(new_checkout: Callable[[str], Any]) -> Any:
    """The same study without a cluster."""
    checkout = new_checkout("here")
    leave_out_networks_that_predict(checkout)
    checkout.snakemake()
    return checkout


@pytest.mark.parametrize("tool", ["snakemake", "dvc"])
def test_a_node_dies_and_the_study_ends_with_the_same_results(
    cluster: Cluster, here: Any, new_checkout: Callable[[str], Any], tmp_path: Path, tool: str
) -> None:
    checkout = new_checkout(f"cluster-{tool}")
    leave_out_networks_that_predict(checkout)
    if tool == "dvc":
        checkout.run("git", "init", "-q")
        checkout.run(sys.executable, "-m", "dvc", "init", "-q", "-f")
        checkout.run(sys.executable, "-m", "hccflow", "init", "--stages")
    command = [sys.executable, "-m", *([tool] if tool == "snakemake" else ["dvc", "repro"])]
    before = len(cluster.jobs())
    log = tmp_path / "log"
    process = start(cluster, checkout, *command, log=log)

    def on_the_second_node() -> dict[str, Path]:
        """Conversions that run there and have finished a case: number of the job, folder of its work."""
        assert process.poll() is None, log.read_text()[-6000:]
        found = {}
        for job in cluster.jobs()[before:]:
            if (rule_of(job), job["JobState"], job["NodeList"]) == ("convert", "RUNNING", "n2"):
                cohort, batch = job["Comment"].split("_wildcards_")[1].rsplit("_", 1)
                found[job["JobId"]] = checkout.results / "convert" / cohort / f".batch-{batch}.work"
        return found if any(list(work.glob("rows/*.json")) for work in found.values()) else {}

    def requeued() -> bool:
        return all(job["Restarts"] == "1" for job in cluster.jobs() if job["JobId"] in victims)

    victims = wait_until(on_the_second_node, 1200, "a case converted on the second node")
    cluster.do("kill", "n2")
    wait_until(requeued, 120, "SLURM to put the dead node's jobs back into the queue")
    cluster.do("start", "n2")
    stopped = stop_an_extraction(cluster, process, before)
    assert process.wait(3600) == 0, log.read_text()[-6000:]
    logs = checkout.folder / "logs" / "phantom" / "convert"
    batches = [logs / work.parent.name / f"{work.stem.removeprefix('.')}.log" for work in victims.values()]
    assert any("resuming: " in file.read_text(encoding="utf-8") for file in batches), "finished cases are kept"
    assert results(checkout) == results(here)

    asked: dict[str, set[tuple[str, str]]] = {}
    for job in cluster.jobs()[before:]:
        asked.setdefault(rule_of(job), set()).add((job["Partition"], job.get("TresPerJob", "")))
    for rule in ("segment_train", "segment_predict"):
        assert asked[rule] == {("gpu", "gres:gpu:fake:1")}, "one GPU of the site's kind, where the GPUs are"
    assert asked["extract"] == {("cpu", "")}
    threads = {job["NumCPUs"] for job in cluster.jobs()[before:] if rule_of(job) == "convert"}
    assert threads == {str(SITE["set-threads"]["convert"])}, "not capped by the cores of the machine that submits"
    first, second = (job for job in cluster.jobs()[before:] if job["Comment"] == stopped)
    assert first["JobState"] == "CANCELLED" and second["JobState"] == "COMPLETED", "what SLURM stops is tried again"
    assert amounts(second) == [2 * amount for amount in amounts(first)], "with twice the memory and time"
    if tool == "snakemake":
        judged = [n for j in cluster.jobs()[before:] if (n := rule_of(j)).startswith(("judge", "predict", "validate"))]
        assert judged == 3 * ["judge_predict_survive_validate"], "what takes seconds is one job per cohort"
    again = start(cluster, checkout, *command, log=log)
    assert again.wait(300) == 0
    assert ("Nothing to be done" if tool == "snakemake" else "Data and pipelines are up to date") in log.read_text()


def stop_an_extraction(cluster: Cluster, process: subprocess.Popen[bytes], before: int) -> str:
    """End a running job as SLURM ends one that exceeds its time or memory; returns its comment, which names it."""

    def running() -> list[dict[str, str]]:
        assert process.poll() is None
        return [j for j in cluster.jobs()[before:] if rule_of(j) == "extract" and j["JobState"] == "RUNNING"]

    (job, *_) = wait_until(running, 900, "an extraction")
    subprocess.run(["scancel", job["JobId"]], check=True)
    return job["Comment"]


def amounts(job: dict[str, str]) -> list[float]:
    """Megabytes and minutes that a job asked for."""
    number, unit = float(job["MinMemoryNode"][:-1]), job["MinMemoryNode"][-1]
    hours, minutes, _ = map(int, job["TimeLimit"].split(":"))
    return [number * {"M": 1, "G": 1024}[unit], 60 * hours + minutes]


def results(checkout: Any) -> dict[str, str]:
    """Digest of every result; what DVC writes for git is none."""
    return {name: digest for name, digest in digests(checkout.results).items() if not name.endswith(".gitignore")}


def test_a_job_sees_only_its_gpu(cluster: Cluster) -> None:
    command = ["srun", "--partition=gpu", "--gpus=fake:1", "printenv", "CUDA_VISIBLE_DEVICES"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "0"
