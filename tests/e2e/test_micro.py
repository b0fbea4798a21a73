"""The whole chain on the micro phantom: what it leaves, what it hides, and that a kill changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hccflow.phantom.identity import planted_identities
from hccflow.tables import read_table
from mockstudy import ROOT, digests

STAGES = ("convert", "enrol", "segment", "extract", "train", "validate", "survive", "report")


def test_every_subject_is_accounted_for(micro: Any) -> None:
    for cohort in ("phantom-dev", "phantom-ext", "phantom-fup"):
        participants = read_table(micro.folder / "data" / cohort / "participants.tsv")
        for stage in ("convert", "enrol"):
            manifest = read_table(micro.results / stage / cohort / "manifest.tsv", "manifest")
            assert sorted(manifest["subject"]) == sorted(participants["subject"])
            bad = manifest[manifest["status"] != "ok"]
            assert (bad["reason"] != "").all()
    converted = read_table(micro.results / "convert" / "phantom-dev" / "manifest.tsv", "manifest")
    assert (converted["status"] == "failed").any(), "the phantom's faults are rows"


def test_scores_are_unseen_and_metrics_follow_the_schema(micro: Any) -> None:
    for cohort in ("phantom-dev", "phantom-ext", "phantom-fup"):
        for path in (micro.results / "validate" / cohort).glob("*.predictions.tsv"):
            assert set(read_table(path, "predictions")["kind"]) <= {"oof", "frozen"}
        metrics = read_table(micro.results / "validate" / cohort / "metrics.tsv", "metrics")
        assert "auc" in set(metrics["metric"])
        undefined = metrics[metrics["value"].isna()]
        assert (undefined["reason"] != "").all()
    external = read_table(micro.results / "validate" / "phantom-ext" / "radiomics.predictions.tsv", "predictions")
    assert set(external["kind"]) == {"frozen"}


def test_the_report_is_one_page_that_needs_nothing(micro: Any) -> None:
    page = (micro.results / "report" / "report.html").read_text(encoding="utf-8")
    assert "phantom" in page.lower()
    loaded = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', page)
    assert not [url for url in loaded if url.startswith(("http", "//", "/"))], "nothing is loaded from elsewhere"


def test_every_file_is_described(micro: Any) -> None:
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    pattern = described(page)
    files = [path.relative_to(micro.results).as_posix() for path in micro.results.rglob("*") if path.is_file()]
    assert len(files) > 100
    odd = [name for name in files if not name.endswith(".snakemake_timestamp") and not pattern.fullmatch(name)]
    assert odd == [], "docs/outputs.md names every file"


def described(page: str) -> re.Pattern[str]:
    """Pattern of the paths below a study's results that docs/outputs.md names, with its letters for names."""
    paths = []
    for span in re.findall(r"`R/([^`]+)`", page):
        before, braces, after = re.fullmatch(r"([^{]*)(?:\{([^}]*)\})?(.*)", span).groups()  # type: ignore[union-attr]
        for one in (braces or "").split(","):
            path = re.sub(r"<[^>]+>|\*|(?<![A-Za-z0-9])(?:C|M|X|NN|K)(?![A-Za-z0-9])", "NAME", before + one + after)
            paths.append(re.escape(path).replace("NAME", "[^/]+") + (".+" if path.endswith("/") else ""))
    return re.compile("|".join(paths))


def test_no_identity_leaves_convert(micro: Any) -> None:
    planted: set[str] = set()
    for cohort in ("phantom-dev", "phantom-ext", "phantom-fup"):
        card = yaml.safe_load((micro.folder / "data" / cohort / "cohort.yaml").read_text(encoding="utf-8"))
        for subject in read_table(micro.folder / "data" / cohort / "participants.tsv")["subject"]:
            planted |= set(planted_identities(card, subject))
    needles = [text.encode() for text in planted if len(text) >= 4]
    assert len(needles) > 100
    pattern = re.compile(b"|".join(re.escape(text) for text in sorted(needles, key=len, reverse=True)))
    searched = 0
    for top in ("results", "logs", "ledger"):
        for path in (micro.folder / top).rglob("*"):
            if path.is_file():
                found = pattern.search(_plain(path))
                assert not found, f"{path.relative_to(micro.folder)} holds {found.group()!r}" if found else ""
                searched += 1
    assert searched > 100


def _plain(path: Path) -> bytes:
    """Bytes of a file, unpacked when they are compressed."""
    import gzip

    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_running_again_does_nothing(micro: Any) -> None:
    assert "Nothing to be done" in micro.snakemake()


def test_a_new_file_time_runs_nothing_and_a_changed_key_only_what_depends_on_it(micro: Any) -> None:
    volume = next((micro.results / "convert").rglob("*_arterial.nii.gz"))
    volume.touch()
    (micro.folder / "workflow/hccflow/convert/__init__.py").touch()
    assert "Nothing to be done" in micro.snakemake("--dry-run")
    plan = micro.snakemake("--dry-run", "--forcerun", "phantom")
    assert re.search(r"^report\s+1$", plan, flags=re.M), "all that depends on the images runs again"
    plan = micro.snakemake("--dry-run", "--config", "survive={cut: maxstat}")
    jobs = dict(re.findall(r"^(\w+)\s+(\d+)$", plan, flags=re.M))
    assert "convert" not in jobs and "extract" not in jobs and "train" in jobs


def test_a_frozen_model_says_what_it_was_made_from(micro: Any) -> None:
    freeze = json.loads((micro.results / "train" / "radiomics" / "freeze.json").read_text(encoding="utf-8"))
    split = read_table(micro.results / "enrol" / "split.tsv")
    assert freeze["files"], "digest of every file of the model"
    assert "threshold" in freeze and "survival_cut" in freeze
    fits = read_table(micro.results / "train" / "radiomics" / "fits.tsv")
    assert set(split["role"]) == {"train"}
    assert (fits["n"] <= split["subject"].nunique()).all()


@pytest.mark.slow
def test_ten_kills_change_no_byte(micro: Any, new_checkout: Callable[[str], Any]) -> None:
    other = new_checkout("killed")
    killed = 0
    for seconds in np.random.default_rng(20261121).uniform(3, 20, 10):
        killed += other.snakemake_killed_after(seconds)
        other.snakemake("--unlock")
    other.snakemake()
    assert killed >= 5, "it was killed while it ran"
    assert "Nothing to be done" in other.snakemake()
    assert digests(other.results) == digests(micro.results)
