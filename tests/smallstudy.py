"""A real study of small NIfTI volumes in a git and DVC repository of its own: every stage, seconds a job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import yaml

from hccflow.ids import assign_batch
from workspace import copy_repository

BIN = Path(sys.executable).parent
#: Name: letter of the subjects, number of subjects, number of batches, role.
COHORTS = {"one": ("D", 24, 3, "development"), "two": ("E", 12, 2, "external")}
KEPT = (
    "Snakefile",
    "workflow/",
    "profiles/default/",
    "envs/",
    "requirements.lock",
    ".dvc/config",
    ".dvc/plots/",
    ".dvc/.gitignore",
    ".dvcignore",
)
MODEL = {"kind": "tabular", "endpoint": "response", "learner": "ridge"}


def configuration() -> dict[str, Any]:
    """Configuration of the study."""
    return {
        "study": "small",
        "title": "Small volumes",
        "seed": 3,
        "cohorts": {name: {"role": role} for name, (*_, role) in COHORTS.items()},
        "columns": {
            "age": {"kind": "number", "available_at": "baseline"},
            "response": {"kind": "binary", "available_at": "outcome"},
            "os_days": {"kind": "number", "minimum": 0, "available_at": "outcome"},
            "os_event": {"kind": "binary", "available_at": "outcome"},
        },
        "endpoints": {
            "response": {"kind": "binary", "column": "response", "favourable": True},
            "os": {"kind": "survival", "time": "os_days", "event": "os_event"},
        },
        "eligibility": [{"name": "Adults", "column": "age", "at_least": 18}],
        "split": {"folds": 2, "stratify": ["response"]},
        "imaging": {"modality": "CT", "channels": ["arterial"], "reference": "arterial", "masks": ["tumour"]},
        "extract": {
            "rois": {"manual": {"source": "reference", "mask": "tumour"}},
            "radiomics": {"imageType": {"Original": {}}, "featureClass": {"firstorder": ["Mean", "Energy"]}},
        },
        "models": {
            "clinical": {**MODEL, "columns": ["age"]},
            "radiomics": {**MODEL, "roi": "manual"},
        },
        "primary": {
            "endpoint": "response", "model": "radiomics", "comparator": "clinical", "cohort": "two", "metric": "auc",
        },
        "validate": {"bootstrap": 0},
        "survive": {"endpoints": ["os"], "models": ["radiomics"], "times_days": [200]},
    }  # fmt: skip


def write_image(folder: Path, subject: str, mean: float) -> None:
    """One volume with a tumour of this mean, and its mask."""
    rng = np.random.default_rng(list(subject.encode()))
    z, y, x = np.mgrid[:12, :12, :12]
    inside = ((z - 6) ** 2 + (y - 6) ** 2 + (x - 6) ** 2 < 16) & (rng.random(z.shape) < 0.95)  # no two alike
    values = (rng.normal(40, 5, inside.shape) + mean * inside).astype(np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("arterial", values), ("desc-tumour_mask", inside.astype(np.uint8))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2.0, 2.0, 2.0))
        sitk.WriteImage(image, str(folder / f"sub-{subject}_{name}.nii.gz"))


class SmallStudy:
    """A checkout with the small study; `git`, `dvc`, `snakemake` and `hccflow` run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def copy(cls, folder: Path) -> SmallStudy:
        """Copy what a study needs of the repository, without any study."""
        copy_repository(folder, lambda name: name.startswith(KEPT))
        (folder / ".gitignore").write_text("/.snakemake/\n/.hccflow/\n/logs/\n/ledger/\n__pycache__/\n")
        return cls(folder)

    @classmethod
    def make(cls, folder: Path) -> SmallStudy:
        """Write the study, index its images, and commit it."""
        study = cls.copy(folder)
        study.configure(configuration())
        for name, (letter, size, batches, _) in COHORTS.items():
            study.write_cohort(name, letter, size, batches)
            study.hccflow("index", "--images", f"data/{name}/nifti", "--participants", f"data/{name}/participants.tsv")
        study.hccflow("init", "--stages")
        study.begin(*(f"data/{name}/nifti" for name in COHORTS))
        return study

    def begin(self, *images: str) -> None:
        """Put the study into git, and its images into DVC."""
        self.git("init", "--quiet", "--initial-branch", "main")
        self.dvc("add", "--quiet", *images)
        self.commit("The study")

    def twin(self, folder: Path) -> SmallStudy:
        """Copy the study with the times of its files, by which Snakemake knows its outputs."""
        return SmallStudy(shutil.copytree(self.folder, folder, symlinks=True))

    def write_cohort(self, name: str, letter: str, size: int, batches: int) -> None:
        """Write the tables and images of one cohort."""
        rng = np.random.default_rng(size)
        folder = self.folder / "data" / name
        rows = ["subject\tsession\tsite\tbatch\tage\tresponse\tos_days\tos_event"]
        for number in range(size):
            subject, response = f"{letter}{number:03d}", int(rng.random() < 0.5)
            write_image(folder / "nifti" / f"sub-{subject}", subject, 30 + 15 * response + rng.normal(0, 10))
            age, days = 40 + 10 * rng.random() + 5 * response, rng.integers(50, 900)
            rows.append(
                f"{subject}\t\tA\t{assign_batch(subject, batches)}\t{age:.0f}\t{response}\t{days}\t{number % 2}"
            )
        (folder / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        card = {"title": name, "batches": batches, "source": {"kind": "nifti"}}
        (folder / "cohort.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")

    def configure(self, config: dict[str, Any]) -> None:
        """Write the configuration."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command and return what it printed; it must end well, or badly where that is expected."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HCCFLOW_", "SNAKEMAKE_", "DVC_", "GIT_"))}
        env |= {"PATH": f"{BIN}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(self.folder / "workflow")}
        who = {
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        }
        done = subprocess.run(command, cwd=self.folder, env=env | who, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output[-6000:]
        return output

    def git(self, *arguments: str) -> str:
        """Run git."""
        return self.run("git", *arguments)

    def dvc(self, *arguments: str, fails: bool = False) -> str:
        """Run dvc."""
        return self.run("dvc", *arguments, fails=fails)

    def snakemake(self, *arguments: str, fails: bool = False) -> str:
        """Run snakemake on two cores."""
        return self.run("snakemake", "--cores", "2", *arguments, fails=fails)

    def hccflow(self, *arguments: str, fails: bool = False) -> str:
        """Run hccflow."""
        return self.run(sys.executable, "-m", "hccflow", *arguments, fails=fails)

    def commit(self, message: str) -> None:
        """Commit everything that git sees."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def planned(self) -> dict[str, int]:
        """Jobs that Snakemake would run, by rule; empty when there is nothing to do."""
        plan = self.snakemake("--dry-run", "--quiet", "rules")
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", plan, flags=re.M)}
        assert jobs or "Nothing to be done" in plan, plan
        return {name: count for name, count in jobs.items() if name not in ("all", "total")}

    def changed(self) -> set[str]:
        """Stages and tracked folders that DVC sees changed."""
        return set(json.loads(self.run("dvc", "status", "--json")))
