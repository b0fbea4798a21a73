"""`hccflow init` makes a study that runs: its example rows replaced by patients, it goes from images to the report."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from hccflow.ids import assign_batch
from hccflow.orchestration.template import LESIONS, N_BATCHES
from smallstudy import SmallStudy, write_image

CONFIG = "studies/my-study.yaml"
#: What people write into titles, and what a shell, YAML or DVC could stumble over.
TITLE = "Does texture: \"heterogeneity\", size, or AFP > 400 predict 'response' in 50 % of $HOME & us?"


def fill_in(data: Path, part: str, letter: str, size: int) -> None:
    """Replace the example rows of a cohort, and put images beside them."""
    folder = data / f"my-study-{part}"
    rng = np.random.default_rng(size)
    card = yaml.safe_load((folder / "cohort.yaml").read_text(encoding="utf-8"))
    card |= {"title": f"{part}, {TITLE}", "source": {"kind": "nifti"}}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    people = [(folder / "participants.tsv").read_text(encoding="utf-8").splitlines()[0].split("\t")]
    lesions: list[list[object]] = [list(LESIONS)]
    for number in range(size):
        subject, response = f"{letter}{number:03d}", int(rng.random() < 0.5)
        images = folder / "nifti" / f"sub-{subject}"
        write_image(images, subject, 30 + 20 * response + rng.normal(0, 10))
        shutil.copy2(images / f"sub-{subject}_arterial.nii.gz", images / f"sub-{subject}_portal.nii.gz")
        person = [subject, "", "A", assign_batch(subject, N_BATCHES), rng.integers(40, 80), rng.integers(2, 900)]
        people.append([str(cell) for cell in (*person, rng.integers(50, 900), number % 2)])
        lesions.append([subject, "R1", "baseline", 0, "L1", 1, 30.0, 28.0, ""])
        lesions.append([subject, "R1", "followup", 42, "L1", 1, 28.0, 10.0 if response else 27.0, 0])
    for name, rows in (("participants", people), ("lesions", lesions)):
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_new_study_runs_from_init_to_the_report_by_dvc(tmp_path: Path) -> None:
    study = SmallStudy.copy(tmp_path)
    assert "To fill in, in this order" in study.hccflow("init", "my-study")
    for part, letter, size in (("dev", "D", 30), ("ext", "E", 16)):
        fill_in(tmp_path / "data", part, letter, size)
        folder = f"data/my-study-{part}"
        study.hccflow("index", "--images", f"{folder}/nifti", "--participants", f"{folder}/participants.tsv")
    file = tmp_path / CONFIG
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config |= {"title": TITLE, "validate": {"bootstrap": 50}}
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    study.hccflow("init", "--stages", "--configfile", CONFIG)
    assert "missing (to fill in): nothing" in study.hccflow("check", "--configfile", CONFIG)
    study.begin("data/my-study-dev/nifti", "data/my-study-ext/nifti")

    study.dvc("repro", "--quiet", "studies/my-study/dvc.yaml")
    page = (tmp_path / "results/my-study/report/report.html").read_text(encoding="utf-8")
    assert "AFP &gt; 400 predict" in page
    assert "Nothing to be done" in study.snakemake("--configfile", CONFIG)
    assert study.changed() == set()
    assert study.hccflow("status", "--configfile", CONFIG).count("done, 30 ok") >= 3
    told = study.hccflow("why", "results/my-study/train/radiomics/freeze.json")
    for words in ("roi-manual/features.tsv", "hccflow train", "kept by DVC", "studies/my-study/dvc.lock"):
        assert words in told

    shutil.rmtree(tmp_path / ".snakemake")
    assert f"hccflow settle --configfile {CONFIG}" in study.snakemake("--dry-run", "--configfile", CONFIG, fails=True)
    study.hccflow("settle", "--configfile", CONFIG)
    assert "Nothing to be done" in study.snakemake("--configfile", CONFIG)
