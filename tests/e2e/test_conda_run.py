"""Rules run inside their environments, made by a stand-in: tests/conda_standin.py says what that does not prove."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import conda_standin


@pytest.mark.slow
def test_rules_run_inside_their_environments(new_checkout: Any, tmp_path: Path) -> None:
    """Convert and extract one small cohort where nothing but the environments holds our libraries."""
    checkout = new_checkout("conda")
    conda_standin.install(tmp_path)
    bare = f"{tmp_path / 'bin'}{os.pathsep}/usr/local/bin:/usr/bin:/bin"
    environment = {**checkout.environment, "PATH": bare, "STANDIN_PREFIX": str(tmp_path)}
    target = "results/phantom/extract/phantom-fup/roi-manual/features.tsv"

    def snakemake(*arguments: str) -> str:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", target, *arguments]
        done = subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout + done.stderr

    assert subprocess.run(["python3", "-c", "import radiomics"], env=environment, capture_output=True).returncode
    first = snakemake("--use-conda")
    assert first.count("Creating conda environment") == 2, "two kinds of rules, two environments, none with a GPU"
    features = (checkout.folder / target).read_text(encoding="utf-8")
    assert "original_shape" in features or "shape__" in features
    assert "Nothing to be done" in snakemake("--use-conda")
    # An edited environment file runs the rules again that name it, and what follows from them; no other.
    file = checkout.folder / "envs" / "models.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"# edited\n{text}", encoding="utf-8")
    plan = snakemake("--use-conda", "--dry-run", "--quiet", "rules")
    jobs = set(re.findall(r"^(\w+)\s+\d+$", plan, flags=re.M)) - {"all", "total"}
    assert jobs == {"extract", "extract_gather"}
    file.write_text(text, encoding="utf-8")
    assert "Nothing to be done" in snakemake("--use-conda", "--dry-run")
    # Leaving conda is a change of the environment, and said so; docs/conda.md tells how to accept it.
    assert "Software environment definition has changed" in snakemake("--dry-run")
    assert "Nothing to be done" in snakemake("--dry-run", "--rerun-triggers", "input", "params", "code", "mtime")


@pytest.mark.slow
def test_jobs_are_handed_to_the_container(new_checkout: Any, tmp_path: Path) -> None:
    """With --sdm apptainer a whole command goes into the image; a script stands in for the container engine."""
    checkout = new_checkout("container")
    calls = tmp_path / "calls"
    engine = tmp_path / "apptainer"
    inside = f'PATH="{Path(sys.executable).parent}:$PATH" exec bash -c "$last"'
    engine.write_text(
        '#!/bin/bash\nif [ "$1" = --version ]; then echo "apptainer version 1.4.0"; exit; fi\n'
        f'echo "$*" >> "{calls}"\nfor last; do :; done\n{inside}\n',
        encoding="utf-8",
    )
    engine.chmod(0o755)
    (checkout.folder / "hccflow.sif").write_text("an image", encoding="utf-8")
    environment = {**checkout.environment, "PATH": f"{tmp_path}{os.pathsep}/usr/local/bin:/usr/bin:/bin"}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "data/phantom-fup/dicom", "--sdm", "apptainer"]
    done = subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "hccflow.sif bash -c" in calls.read_text(encoding="utf-8")
    assert (checkout.folder / "data" / "phantom-fup" / "dicom" / "series.tsv").is_file()
