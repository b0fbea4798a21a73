"""What stops Snakemake before it starts: links in DVC's cache, results that DVC has brought or somebody has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hccflow.orchestration.engines import SETTLING
from hccflow.orchestration.stages import dvc_place
from hccflow.orchestration.state import check_links, refuse_unsettled
from hccflow.study import Study


def guard(study: Study, config_file: Path) -> None:
    """Refuse to start on unsafe links, unsettled or, under DVC, changed results; reads a few small files.

    Raises
    ------
    ConfigError, EngineError
        One line: what, where, what to do.
    """
    check_links()
    config_file = _inside(config_file)
    stages = dvc_place(config_file)
    if stages.with_suffix(".lock").is_file() and SETTLING not in os.environ:
        option = "" if stages == Path("dvc.yaml") else f" --configfile {config_file}"
        refuse_unsettled(telltales(study), stages, f"hccflow settle{option}")


def telltales(study: Study) -> Iterator[str]:
    """Yield the file that closes each stage of each cohort and model, as the rules name it."""
    results = Path("results", study.name)
    for name in study.cohorts:
        yield str(results / "convert" / name / "manifest.tsv")
        yield str(results / "enrol" / name / "subjects.tsv")
        yield str(results / "segment" / name / "manifest.tsv")
        for roi in study.config["extract"]["rois"]:
            yield str(results / "extract" / name / f"roi-{roi}" / "features.tsv")
        for stage in ("validate", "survive", "relate"):
            yield str(results / stage / name / "metrics.tsv")
    yield str(results / "segment" / "freeze.json")
    for name in study.models:
        yield str(results / "train" / name / "freeze.json")
    yield str(results / "report" / "report.html")


def _inside(path: Path) -> Path:
    """Path relative to the current folder where it lies below it."""
    whole = path.absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else path
