"""Everything that is missing or odd in a study, before any compute: configuration, tables, images and their index,
cases and events per endpoint, cohort and parameter, batches, disk, programs, and whether DVC's stages fit.

Exit status 0: nothing is missing; 1: something is; 2: the configuration or a table contradicts itself.
"""

from __future__ import annotations

import argparse

import pandas as pd

from hccflow.cli._study import add_configfile, read_study
from hccflow.convert.source import Files
from hccflow.enrol.enrolment import enrol
from hccflow.errors import HccflowError
from hccflow.orchestration.check import Findings, check_cohorts, check_counts, check_machine, check_people
from hccflow.study import Cohort, Study
from hccflow.tables import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hccflow check``."""
    add_configfile(parser)
    parser.add_argument("--deep", action="store_true", help="compare every image's bytes with its index (minutes)")


def run(args: argparse.Namespace) -> int:
    """Print what was found."""
    raw, study = read_study(args.configfile)
    findings = Findings()
    check_cohorts(study, findings)
    enrolled = {}
    for cohort in study.cohorts.values():
        try:
            enrolled[cohort.name] = _enrol(study, cohort)
        except HccflowError as error:
            findings.missing.append(f"{cohort.name}: {error}")
    check_counts(study, enrolled, findings)
    check_people(study, findings)
    check_machine(study, raw, args.configfile, findings)
    if args.deep:
        for cohort in study.cohorts.values():
            findings.missing += _stale(cohort)
    print(findings.text(f"{study.config['title']} ({args.configfile})"))  # noqa: T201
    return 1 if findings.missing else 0


def _enrol(study: Study, cohort: Cohort) -> pd.DataFrame:
    """Enrol a cohort by its tables alone: rules about images are left out, for nothing is converted yet."""
    settings = study.section("columns", "endpoints")
    settings["eligibility"] = [rule for rule in study.config["eligibility"] if "images" not in rule]
    lesions = cohort.folder / "lesions.tsv"
    enrolment = enrol(
        cohort.participants,
        settings,
        cohort=cohort.name,
        role=cohort.role,
        lesions=read_table(lesions, "lesions") if lesions.is_file() else None,
        where=lesions,
    )
    return enrolment.subjects


def _stale(cohort: Cohort) -> list[str]:
    """Series whose bytes are not those of the index."""
    index = cohort.images / "series.tsv"
    if not index.is_file():
        return []
    files, found = Files(cohort.images), []
    for _, row in read_table(index, "series").drop_duplicates(["path", "series_uid"]).iterrows():
        try:
            files.of(row)
        except HccflowError as error:
            found.append(f"{cohort.name}: {row['subject']} {row['name']}: {error}")
    return found
