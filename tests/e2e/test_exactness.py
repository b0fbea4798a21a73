"""After each kind of change: which jobs Snakemake runs again, and which `dvc repro` does. Only those.

Snakemake plans a job as soon as a job before it runs. `dvc repro` starts Snakemake once for each stage, so it goes on
only where the bytes have changed: it may run fewer jobs than are planned, never others. Each test states both. DVC's
own stages see whole tables and packages; it may enter one in which Snakemake then finds nothing to do.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from mockstudy import digests
from smallstudy import SmallStudy, configuration, write_image

pytestmark = pytest.mark.slow
#: What follows a change of the enrolled subjects of the development cohort.
AFTER_ENROL = {"split": 1, "train": 2, "predict": 4, "validate": 2, "survive": 2, "report": 1}
#: What stops `dvc repro` at a result that no job here has made.
CHANGED = "this result was changed after its job had made it"
#: What follows a change of the radiomics model.
AFTER_TRAIN = {"predict": 2, "validate": 2, "survive": 2, "report": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """The study, finished by dvc repro and committed: nothing to do."""
    study = SmallStudy.make(tmp_path_factory.mktemp("exact"))
    study.dvc("repro", "--quiet")
    study.commit("Results")
    assert study.planned() == {}
    assert study.changed() == set()
    return study


@pytest.fixture
def study(finished: SmallStudy, tmp_path: Path) -> SmallStudy:
    """A twin of the finished study, for one test to change."""
    return finished.twin(tmp_path / "study")


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, which has it."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def ran(output: str) -> dict[str, int]:
    """Jobs that Snakemake finished, by rule, from what it printed."""
    return dict(Counter(re.findall(r"Finished jobid: \d+ \(Rule: (?!all\b)(\w+)\)", output)))


def reproduced(study: SmallStudy) -> dict[str, int]:
    """Jobs that `dvc repro` ran, by rule; afterwards neither tool has anything to do."""
    jobs = ran(study.dvc("repro"))
    assert study.planned() == {}
    assert study.changed() == set()
    return jobs


def test_one_case_runs_its_batch_and_what_gathers_it(study: SmallStudy) -> None:
    images = study.folder / "data/one/nifti"
    write_image(images / "sub-D003", "D003", 90.0)
    assert study.planned() == {}, "Snakemake goes by the index, which holds the digest of each series"
    assert "have files newer than" in study.hccflow("check"), "so the check looks"
    assert study.changed() >= {"data/one/nifti.dvc"}, "and DVC sees the bytes"
    study.hccflow("index", "--images", "data/one/nifti", "--participants", "data/one/participants.tsv")
    jobs = {"convert": 1, "convert_gather": 1, "enrol": 1, "extract": 1, "extract_gather": 1, **AFTER_ENROL}
    assert study.planned() == jobs
    assert study.changed() == {"data/one/nifti.dvc", "convert@one"}
    study.dvc("add", "--quiet", "data/one/nifti")
    # The same patients are enrolled, so the split and the clinical model stay as they are.
    del jobs["split"]
    assert reproduced(study) == {**jobs, "train": 1, "predict": 2}


def test_one_row_of_a_participant_runs_no_image_again(study: SmallStudy) -> None:
    table = study.folder / "data/one/participants.tsv"
    lines = table.read_text(encoding="utf-8").splitlines()
    cells = lines[4].split("\t")
    cells[4] = "77"
    table.write_text("\n".join([*lines[:4], "\t".join(cells), *lines[5:]]) + "\n", encoding="utf-8")
    assert study.planned() == {"enrol": 1, **AFTER_ENROL}
    assert study.changed() == {"convert@one", "enrol@one"}
    # An age is no radiomic feature: that model keeps its bytes, so the other cohort is not judged with it again.
    assert reproduced(study) == {"enrol": 1, **AFTER_ENROL, "predict": 3, "survive": 1}


def test_one_key_runs_what_sees_it(study: SmallStudy) -> None:
    config = configuration()
    config["models"]["radiomics"]["features"] = ["*Mean"]
    study.configure(config)
    assert study.planned() == {"train": 1, **AFTER_TRAIN}
    seen = {"validate@one", "validate@two", "survive@one", "survive@two", "report"}
    assert study.changed() == {"train@radiomics", *seen}
    assert reproduced(study) == {"train": 1, **AFTER_TRAIN}
    config["validate"]["confidence"] = 0.9
    study.configure(config)
    assert study.planned() == {"validate": 2, "report": 1}
    assert study.changed() == {"validate@one", "validate@two", "report"}


def test_one_module_runs_what_imports_it(study: SmallStudy, tmp_path: Path) -> None:
    module = study.folder / "workflow/hccflow/survive/groups.py"
    module.touch()
    assert study.planned() == {}, "a new time is no change"
    module.write_text(module.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert study.planned() == {"survive": 2, "report": 1}
    assert study.changed() == {"survive@one", "survive@two"}
    twin = study.twin(tmp_path / "twin")
    assert ran(twin.snakemake()) == {"survive": 2, "report": 1}, "what is planned is what runs"
    assert reproduced(twin) == {}, "and DVC records it without computing it again"
    assert reproduced(study) == {"survive": 2}, "with the same numbers there is nothing new to report"


def test_an_environment_file_counts_only_where_environments_are_used(study: SmallStudy) -> None:
    edit(study.folder / "envs/models.yaml", "channels:", "# edited\nchannels:")
    assert study.planned() == {}, "without --use-conda the environment is the Python that runs"
    assert study.changed() == set()
    assert reproduced(study) == {}


def test_one_freeze_runs_what_judges_with_it(study: SmallStudy) -> None:
    frozen = study.folder / "results/small/train/radiomics/freeze.json"
    edit(frozen, '"endpoint": "response"', '"endpoint": "other"')
    assert study.planned() == AFTER_TRAIN
    assert "train@radiomics" in study.changed()
    output = study.snakemake("results/small/validate/two/radiomics.predictions.tsv", fails=True)
    assert "freeze.json was changed" in output
    assert CHANGED in study.dvc("repro", fails=True), "DVC does not record it as made here"
    study.dvc("checkout", "--quiet", "--force")
    study.hccflow("settle")
    assert '"endpoint": "response"' in frozen.read_text(encoding="utf-8")
    assert study.planned() == {}
    frozen.unlink()
    assert reproduced(study) == {"train": 1}, "made again, with the same bytes: nothing to judge"


def test_a_new_freeze_runs_what_judges_with_it(study: SmallStudy, tmp_path: Path) -> None:
    """As when another hospital sends its model: the folder of the model is exchanged for a whole other one."""
    model = study.folder / "results/small/train/radiomics"
    config = configuration()
    config["models"]["radiomics"]["features"] = ["*Mean"]
    hospital = study.twin(tmp_path / "hospital")
    hospital.configure(config)
    hospital.snakemake("results/small/train/radiomics/freeze.json")
    shutil.rmtree(model)
    shutil.copytree(hospital.folder / "results/small/train/radiomics", model, copy_function=shutil.copyfile)
    assert study.planned() == AFTER_TRAIN
    assert "train@radiomics" in study.changed()
    assert "DVC sees changes before settling" in study.hccflow("settle", fails=True), "nothing blesses it"
    assert CHANGED in study.dvc("repro", fails=True)


def test_a_sweep_runs_exactly_the_jobs_that_see_its_key(study: SmallStudy) -> None:
    for value in ("20", "30"):
        output = study.dvc(
            "exp", "run", "--name", f"sweep-{value}", "--set-param", f"config.yaml:validate.bootstrap={value}"
        )
        assert ran(output) == {"validate": 2, "report": 1}
    table = list(csv.DictReader(io.StringIO(study.dvc("exp", "show", "--csv"))))
    rows = {row["Experiment"]: row for row in table if row["Experiment"].startswith("sweep")}
    assert {name: row["validate.bootstrap"] for name, row in rows.items()} == {"sweep-20": "20", "sweep-30": "30"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_leaves_nothing_that_passes_for_whole(tmp_path: Path) -> None:
    other = SmallStudy.make(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", results], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this root may not mount: {mounted.stderr.strip()}")
    try:
        assert "No space left on device" in other.snakemake(fails=True)
        there = {name: digest for name, digest in digests(results).items() if "/." not in name}
        subprocess.run(["mount", "-o", "remount,size=100m", results], check=True)
        other.snakemake()
        whole = digests(results)
        assert len(there) < len(whole)
        assert there.items() <= whole.items(), "what had its final name was whole"
        assert not [name for name in whole if "/." in name], "nothing is left behind"
    finally:
        subprocess.run(["umount", results], check=True)
