"""Enrolment of one cohort: endpoints, eligibility, agreement of readers, and the counts of the flow diagram."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hccflow.enrol.eligibility import judge
from hccflow.enrol.endpoints import check_categories, derive_endpoints
from hccflow.enrol.readers import agreement_table
from hccflow.errors import HccflowError
from hccflow.ids import CohortRole, Status

FIRST = ["cohort", "subject", "session", "site", "batch", "role"]


@dataclass(frozen=True)
class Enrolment:
    """The four tables of one cohort, named as their files."""

    subjects: pd.DataFrame
    manifest: pd.DataFrame
    flow: pd.DataFrame
    agreement: pd.DataFrame


def enrol(
    participants: pd.DataFrame,
    settings: Mapping[str, Any],
    *,
    cohort: str,
    role: CohortRole,
    lesions: pd.DataFrame | None = None,
    converted: pd.DataFrame | None = None,
    where: object = "lesions.tsv",
) -> Enrolment:
    """Enrol one cohort.

    Parameters
    ----------
    participants : pandas.DataFrame
        Typed as by `hccflow.participants.read_participants`.
    settings : mapping
        Sections ``study, columns, endpoints, eligibility, null_seed`` of the configuration.
    cohort, role : str, CohortRole
        Name of the cohort, and what it is in this study.
    lesions, converted : pandas.DataFrame, optional
        Lesion measurements; manifest of `convert`.
    where : object
        Name of the lesions table for messages.

    Raises
    ------
    HccflowError
        Nobody is eligible, or a table or rule contradicts itself.
    """
    specs = settings["endpoints"]
    check_categories(specs)
    endpoints = derive_endpoints(participants, specs, lesions, where=where)
    verdicts, flow = judge(participants, settings.get("eligibility", ()), endpoints.reasons, converted)
    enrolled = verdicts["status"] == Status.OK
    if not enrolled.any():
        worst = flow[flow["step"] == "eligibility"].sort_values("n_out").iloc[-1]
        raise HccflowError(
            f"nobody in cohort '{cohort}' is eligible", found=f"{worst['n_out']} leave at the rule '{worst['rule']}'",
            todo="check the eligibility rules and the tables of the cohort",
        )  # fmt: skip
    # An endpoint column takes the place of a declared column of the same name (os_event of the endpoint os).
    declared = [name for name in settings["columns"] if name not in endpoints.values]
    subjects = participants.assign(cohort=cohort, role=role.value)[[*FIRST, *declared]]
    subjects = pd.concat([subjects, endpoints.values], axis=1)[enrolled].reset_index(drop=True)
    unknown = endpoints.reasons[enrolled]
    flow = pd.concat([flow, _flow_of_endpoints(unknown)], ignore_index=True)
    agreement = agreement_table(
        endpoints, specs, study=settings["study"], cohort=cohort, subjects=set(subjects["subject"])
    )
    manifest = participants[["subject", "session"]].assign(cohort=cohort)
    manifest = pd.concat([manifest, verdicts], axis=1)[["cohort", "subject", "session", "status", "reason", "notes"]]
    manifest.loc[enrolled, "notes"] = unknown.apply(
        lambda row: "; ".join(f"{name} unknown: {reason}" for name, reason in row.items() if reason), axis=1
    )
    if settings.get("null_seed") is not None:
        late = [name for name in declared if settings["columns"][name]["available_at"] == "outcome"]
        subjects = permute_outcomes(subjects, [*late, *endpoints.values.columns], settings["null_seed"], cohort)
    keys = ["cohort", "subject", "session"]
    return Enrolment(
        subjects.sort_values(keys, kind="stable").reset_index(drop=True),
        manifest.sort_values(keys, kind="stable").reset_index(drop=True),
        flow,
        agreement,
    )


def _flow_of_endpoints(reasons: pd.DataFrame) -> pd.DataFrame:
    """Rows that count, among the enrolled cases, why each endpoint is unknown."""
    rows = []
    for name in reasons.columns:
        left = len(reasons)
        counts = reasons.loc[reasons[name] != "", name].value_counts().sort_index()
        for reason, n in counts.items():
            rows.append(("endpoint", f"{name}: {reason}", left, int(n), left - int(n)))
            left -= int(n)
    return pd.DataFrame(rows, columns=["step", "rule", "n_in", "n_out", "n_left"])


def permute_outcomes(subjects: pd.DataFrame, columns: list[str], seed: int, cohort: str) -> pd.DataFrame:
    """Permute the outcome block (all outcome columns jointly) among the subjects of one cohort.

    Whole subjects are exchanged, with all their sessions, among subjects that have the same sessions; so the joint
    distribution of the outcomes stays, and only their link to everything else is cut.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(cohort.encode())]))
    table = subjects.sort_values(["subject", "session"], kind="stable").reset_index(drop=True)
    rows_of = {subject: rows.index.to_numpy() for subject, rows in table.groupby("subject", sort=True)}
    alike: dict[tuple[str, ...], list[str]] = {}
    for subject, rows in rows_of.items():
        alike.setdefault(tuple(table.loc[rows, "session"]), []).append(str(subject))
    source = np.arange(len(table))
    for _, members in sorted(alike.items()):
        for subject, donor in zip(members, rng.permutation(members), strict=True):
            source[rows_of[subject]] = rows_of[str(donor)]
    for column in columns:
        table[column] = (
            table[column].take(source).to_numpy() if table[column].dtype == object else table[column].array[source]
        )
    return table
