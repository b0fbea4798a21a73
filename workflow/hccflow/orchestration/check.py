"""What is missing or odd in a study, found before any compute."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.duplicates import like_people
from hccflow.errors import HccflowError
from hccflow.orchestration.engines import program
from hccflow.orchestration.stages import dvc_place, dvc_text
from hccflow.orchestration.state import check_links
from hccflow.orchestration.text import columns, size
from hccflow.study import Cohort, Study
from hccflow.tables import read_table

#: Below these numbers a result is hard to believe (Peduzzi et al., J Clin Epidemiol 1996;49:1373, to fit a model;
#: Vergouwe et al., J Clin Epidemiol 2005;58:475, to judge one).
EVENTS_PER_PARAMETER = 10
EVENTS_TO_JUDGE = 100
#: Cases of a batch, the unit of a cluster job.
BATCH_SIZES = (1, 200)
#: Bytes of results per byte of images in use, and of results kept once more by DVC's cache; measured on the phantom.
RESULTS_PER_IMAGE_BYTE = 1.5
CACHED = 2.0
#: Bytes of images and results of one phantom case.
PHANTOM_CASE = 1.2e6


@dataclass
class Findings:
    """What was found: facts as tables, what is missing (nothing can run without it), and what is odd."""

    missing: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    sections: list[tuple[str, list[Sequence[object]]]] = field(default_factory=list)

    def text(self, title: str) -> str:
        """All of it as plain text."""
        parts = [f"{title}\n", *(f"{name}\n{columns(rows)}" for name, rows in self.sections if rows)]
        for name, lines in (("missing (to fill in)", self.missing), ("odd (look at it)", self.odd)):
            parts.append(f"{name}\n" + "".join(f"  - {line}\n" for line in lines) if lines else f"{name}: nothing\n")
        return "\n".join(parts)


def check_cohorts(study: Study, findings: Findings) -> None:
    """Rows, sites and batches of every cohort, and its images."""
    rows: list[Sequence[object]] = [("", "role", "cases", "subjects", "sites", "batches", "images")]
    for cohort in study.cohorts.values():
        table = cohort.participants
        sizes = table["batch"].value_counts()
        if len(sizes) and (sizes.max() > BATCH_SIZES[1] or (sizes.max() == 1 and len(table) > 10)):
            findings.odd.append(
                f"{cohort.name}: batches of {sizes.min()} to {sizes.max()} cases; about 25 make good jobs"
                " (`batches` in cohort.yaml, column batch in participants.tsv)"
            )
        if table["subject"].str.startswith(("EXA", "EXB")).any():
            findings.missing.append(f"{cohort.name}: participants.tsv still holds the example rows EXA… or EXB…")
        images = _check_images(cohort, study, findings) if cohort.has_images else "a table of features"
        rows.append((
            cohort.name, cohort.role.value, len(table), table["subject"].nunique(), table["site"].nunique(),
            f"{len(sizes)} of {sizes.min()} to {sizes.max()}", images,
        ))  # fmt: skip
    findings.sections.append(("cohorts", rows))


def _check_images(cohort: Cohort, study: Study, findings: Findings) -> str:
    """Channels and masks that the index names for each case; one word for the table of cohorts."""
    if cohort.card["source"]["kind"] == "phantom":
        return "made by hccflow"
    index = cohort.images / "series.tsv"
    if not cohort.images.is_dir():
        findings.missing.append(f"{cohort.name}: no images at {cohort.images}")
        return "absent"
    if not index.is_file():
        findings.missing.append(
            f"{cohort.name}: no {index}; do: hccflow index --images {cohort.images} --participants"
            f" {cohort.folder / 'participants.tsv'}"
        )
        return "not indexed"
    series = read_table(index, "series")
    known = set(cohort.participants["subject"])
    strangers = sorted(set(series["subject"]) - known)
    if strangers:
        findings.odd.append(f"{cohort.name}: {index} has {_some(strangers)}, who are not in participants.tsv")
    for name in (*study.config["imaging"]["channels"], *study.config["imaging"]["masks"]):
        absent = sorted(known - set(series.loc[series["name"] == name, "subject"]))
        if absent:
            line = f"{cohort.name}: {len(absent)} of {len(known)} subjects have no '{name}': {_some(absent)}"
            everyone = len(absent) == len(known)
            (findings.missing if everyone else findings.odd).append(line)
    _check_age(cohort, series, index, findings)
    return f"{series['path'].nunique()} series"


def _check_age(cohort: Cohort, series: pd.DataFrame, index: Path, findings: Findings) -> None:
    """Files that are gone, or newer than the index that holds their digests."""
    indexed = index.stat().st_mtime
    gone, newer = [], []
    for relative in series["path"].unique():
        path = cohort.images / relative
        if not path.exists():
            gone.append(relative)
        elif path.is_file() and path.stat().st_mtime > indexed or path.is_dir() and _changed(path, indexed):
            newer.append(relative)
    if gone:
        findings.missing.append(f"{cohort.name}: {len(gone)} of the indexed series are not there: {_some(gone)}")
    if newer:
        findings.odd.append(
            f"{cohort.name}: {len(newer)} series have files newer than {index}: {_some(newer)};"
            " hccflow check --deep compares their bytes"
        )


def _changed(folder: Path, since: float) -> bool:
    return any(path.stat().st_mtime > since for path in folder.iterdir() if path.is_file())


def check_counts(study: Study, enrolled: Mapping[str, pd.DataFrame], findings: Findings) -> None:
    """Cases and events per endpoint and cohort, before images are looked at; parameters that they can carry.

    Parameters
    ----------
    enrolled : mapping
        ``subjects.tsv`` of every cohort that could be enrolled, by cohort.
    """
    rows: list[Sequence[object]] = [("", *study.cohorts)]
    fewest: dict[str, int] = {}
    for name, spec in study.config["endpoints"].items():
        cells = []
        for cohort in study.cohorts.values():
            if cohort.name not in enrolled:
                cells.append("-")
                continue
            values = enrolled[cohort.name][name if spec["kind"] == "binary" else f"{name}_event"]
            events, known = int((values == 1).sum()), int(values.notna().sum())
            cells.append(f"{events} of {known}" + (f", {len(values) - known} unknown" if known < len(values) else ""))
            rarer = min(events, known - events) if spec["kind"] == "binary" else events
            if cohort.name in study.development:
                fewest[name] = fewest.get(name, 0) + rarer
            elif events < EVENTS_TO_JUDGE and spec["kind"] == "binary":
                findings.odd.append(
                    f"{cohort.name}: {events} events of '{name}'; fewer than {EVENTS_TO_JUDGE} make wide intervals"
                )
        rows.append((name, *cells))
    findings.sections.append(("events per endpoint (enrolled by the tables alone)", rows))
    parameters: list[Sequence[object]] = []
    for name, spec in study.models.items():
        count = _parameters(spec, study.config["columns"])
        events = fewest.get(spec["endpoint"], 0)
        if count is None or not events:
            continue
        parameters.append((name, f"{count} parameters", f"{events} events", f"{events / count:.1f} each"))
        if events / count < EVENTS_PER_PARAMETER:
            findings.odd.append(
                f"model '{name}': {events / count:.1f} events for each of {count} parameters; at least"
                f" {EVENTS_PER_PARAMETER} are usual"
            )
    findings.sections.append(("events per parameter (development)", parameters))


def check_people(study: Study, findings: Findings) -> None:
    """Subjects who agree in all that the tables know of them: perhaps one patient under two names."""
    tables = [cohort.participants.assign(cohort=cohort.name) for cohort in study.cohorts.values()]
    people = pd.concat(tables, ignore_index=True)
    for one, subject, other, twin, agree, _ in like_people(people, list(study.config["columns"])).to_numpy().tolist():
        findings.odd.append(
            f"{subject} ({one}) and {twin} ({other}) agree in all {agree} columns that both have: one patient?"
        )


def _parameters(spec: Mapping[str, Any], declared: Mapping[str, Any]) -> int | None:
    """Most coefficients that a model can have; None where only training tells: its features, a network, a choice."""
    if spec["kind"] == "choice":
        return None
    if spec["kind"] == "fusion":
        return len(spec["inputs"])
    if spec["kind"] == "network" or spec.get("roi"):
        return spec["select"].get("max_features")
    used = [declared[name] for name in spec["columns"]]
    return sum(len(column["levels"]) - 1 if column["kind"] == "category" else 1 for column in used)


def check_machine(study: Study, raw: Mapping[str, Any], config_file: Path, findings: Findings) -> None:
    """Programs, GPU, disk, and whether DVC's files fit the configuration."""
    for name in ("snakemake", "dvc"):
        try:
            program(name)
        except HccflowError as error:
            findings.missing.append(str(error))
    dicom = [c for c in study.cohorts.values() if c.card["source"]["kind"] in ("dicom", "phantom")]
    if dicom and importlib.util.find_spec("dcm2niix") is None and shutil.which("dcm2niix") is None:
        findings.missing.append("dcm2niix is not installed; conda brings it (--use-conda), or pip install dcm2niix")
    wanted = [study.config.get("segment", {}).get("device")]
    wanted += [spec.get("network", {}).get("device") for spec in study.models.values()]
    if "cuda" in wanted and not Path("/dev/nvidiactl").exists():
        findings.odd.append("the study demands a GPU (device: cuda) and this machine has none; a cluster's node may")
    try:
        check_links()
    except HccflowError as error:
        findings.missing.append(str(error))
    stages = dvc_place(config_file)
    if not stages.is_file() or stages.read_text(encoding="utf-8") != dvc_text(study, raw, config_file):
        findings.odd.append(
            f"{stages} does not fit the configuration and the library; do: hccflow init --stages --configfile"
            f" {config_file}"
        )
    used = sum(_bytes(cohort) for cohort in study.cohorts.values() if cohort.has_images)
    needed, free = used * (1 + RESULTS_PER_IMAGE_BYTE) * CACHED, shutil.disk_usage(Path.cwd()).free
    findings.sections.append(("disk", [
        ("images", size(used)), ("with results and DVC's cache, about", size(needed)), ("free here", size(free)),
    ]))  # fmt: skip
    if needed > free:
        findings.missing.append(f"disk: about {size(needed)} are needed and {size(free)} are free")


def _bytes(cohort: Cohort) -> float:
    """Bytes of the cohort's images: measured where they are there, else (a phantom) estimated."""
    if cohort.images.is_dir():
        return float(sum(path.stat().st_size for path in cohort.images.rglob("*") if path.is_file()))
    return len(cohort.participants) * PHANTOM_CASE if cohort.card["source"]["kind"] == "phantom" else 0.0


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
