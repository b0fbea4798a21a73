"""Enrol one cohort: derive its endpoints, apply the eligibility rules, and count everyone who leaves.

Writes subjects.tsv (the enrolled cases), manifest.tsv (every case, with the reason when it is out), flow.tsv (the
counts of the flow diagram) and agreement.tsv (agreement of the readers).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from hccflow.cli._arguments import settings
from hccflow.enrol.enrolment import enrol
from hccflow.ids import CohortRole
from hccflow.participants import read_participants
from hccflow.tables import read_table, write_table

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow enrol``."""
    parser.add_argument("--cohort", required=True, help="name of the cohort")
    parser.add_argument("--role", required=True, type=CohortRole, choices=list(CohortRole), help="what it is here")
    parser.add_argument("--participants", required=True, type=Path, help="participants.tsv")
    parser.add_argument("--lesions", nargs="?", type=Path, help="lesions.tsv, when an endpoint is derived from it")
    parser.add_argument("--manifest", nargs="?", type=Path, help="manifest of convert, when the cohort has images")
    parser.add_argument("--settings", required=True, type=settings, help="columns, endpoints, eligibility, null_seed")
    parser.add_argument("--out", required=True, type=Path, help="folder of the four tables")


def run(args: argparse.Namespace) -> None:
    """Read the tables, enrol, write the results."""
    enrolment = enrol(
        read_participants(args.participants, args.settings["columns"]),
        args.settings,
        cohort=args.cohort,
        role=args.role,
        lesions=read_table(args.lesions, "lesions") if args.lesions else None,
        converted=read_table(args.manifest, "manifest") if args.manifest else None,
        where=args.lesions or "lesions.tsv",
    )
    write_table(enrolment.subjects, args.out / "subjects.tsv")
    write_table(enrolment.manifest, args.out / "manifest.tsv")
    write_table(enrolment.flow, args.out / "flow.tsv")
    write_table(enrolment.agreement, args.out / "agreement.tsv")
    log.info("%s: %d of %d cases enrolled", args.cohort, len(enrolment.subjects), len(enrolment.manifest))
