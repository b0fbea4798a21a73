"""Profiles: documented, free of clashes, and economical with a cluster's queue."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mockstudy import ROOT, write_mock
from test_rules import snakemake

DEFAULT, SLURM, SITE = (
    yaml.safe_load((ROOT / "profiles" / name).read_text(encoding="utf-8"))
    for name in ("default/config.yaml", "slurm/config.yaml", "slurm/site.example.yaml")
)


def rules() -> dict[str, str]:
    """Text of every rule that makes something, by name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
    parts = [part for text in texts for part in re.split(r"^rule ", text, flags=re.M)[1:]]
    return {part.split(":")[0]: part for part in parts}


def remote() -> dict[str, str]:
    """The rules that become cluster jobs."""
    return {name: text for name, text in rules().items() if "localrule: True" not in text}


def test_every_key_of_the_cluster_profile_is_explained() -> None:
    page = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
    table = page.split("## profiles/slurm, key by key")[1].split("##")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.M)) == set(SLURM)


def test_the_default_profile_overrides_no_key_of_the_cluster() -> None:
    assert not set(DEFAULT) & set(SLURM), "profiles/default wins over --profile"


def test_the_site_replaces_no_key_whole_but_its_own() -> None:
    assert not set(SITE) & set(SLURM)


def test_every_job_states_its_memory_and_time() -> None:
    assert len(remote()) > 10
    for name, text in remote().items():
        assert "mem_mb=memory(" in text and "runtime=runtime(" in text, f"rule {name}"


def test_the_site_example_names_the_rules_that_use_a_gpu() -> None:
    assert set(SITE["set-resources"]) == {name for name, text in remote().items() if "gpu=" in text}


def test_threads_are_set_for_rules_that_take_them() -> None:
    for name in SLURM["set-threads"]:
        assert "--jobs {threads}" in remote()[name]


def test_a_thousand_patients_are_at_most_sixty_cpu_jobs(tmp_path: Path) -> None:
    data = write_mock(tmp_path, per_batch=100, dev=600, ext=300, fup=100)
    plan = snakemake(data, "--dry-run", "--forceall", "--quiet", "rules")
    counts = {rule: int(n) for rule, n in re.findall(r"^(\w+)\s+(\d+)$", plan, flags=re.M)}
    # A phantom's images are made by a rule, a hospital's are there.
    cpu = {n for n, text in remote().items() if n in counts and "gpu=" not in text and n != "phantom"}
    assert {"convert", "extract", "train", "report"} <= cpu
    cohorts = 3
    jobs = sum(counts[name] for name in cpu - set(SLURM["groups"])) + cohorts
    assert jobs <= 60, {name: counts[name] for name in cpu}


@pytest.mark.parametrize(("asked", "alone"), [([], True), (["--resources", "gpu=3"], False)])
def test_on_one_machine_one_job_at_a_time_has_the_gpu_unless_the_user_says_otherwise(
    asked: list[str], alone: bool, tmp_path: Path
) -> None:
    """Three jobs that ask for the GPU, each of which stops when it finds another one at work."""
    (tmp_path / "Snakefile").write_text(
        'SEGMENT = {"device": "cuda"}\n'
        f'include: "{ROOT / "workflow/rules/resources.smk"}"\n'
        'rule all:\n    input: expand("{n}.txt", n=range(3))\n'
        'rule one:\n    output: "{n}.txt"\n    resources: gpu=gpus()\n'
        '    shell: "mkdir gpu && sleep 1 && rmdir gpu && touch {output}"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "3", "--keep-going", *asked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) == alone, done.stderr[-2000:]
    assert (len(list(tmp_path.glob("*.txt"))) == 3) == alone
