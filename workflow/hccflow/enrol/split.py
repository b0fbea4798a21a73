"""The study's one split: by subject, balanced, and the same whatever the order of the rows."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, LeakageError
from hccflow.ids import CohortRole, Role

log = logging.getLogger(__name__)

COLUMNS = ["cohort", "subject", "role", "repeat", "fold"]


def make_split(tables: Sequence[pd.DataFrame], settings: Mapping[str, Any]) -> pd.DataFrame:
    """Assign every development subject to test, or to one fold in every repeat.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        ``subjects.tsv`` of the development cohorts; several sessions of a subject stay together.
    settings : mapping
        ``seed`` and the sections ``columns, endpoints, split`` of the configuration.

    Returns
    -------
    pandas.DataFrame
        ``cohort, subject, role, repeat, fold``: one row per subject and repeat; fold is missing for test subjects.

    Raises
    ------
    LeakageError
        A table of another role, or a subject in two cohorts.
    ConfigError
        Some fold would train without a positive or without a negative case.

    Notes
    -----
    Within a stratum (joint level of the stratifying variables; a missing label is a level of its own) fold sizes differ
    by at most one. Ties go to the fold with the fewest subjects of the same single levels, then to the smallest one.
    The order within a stratum is that of a hash of seed, repeat and subject: the rows' order does not matter.

    With ``by: site`` the folds are the sites in alphabetical order, whatever their sizes: every model is fitted again
    without each site in turn (internal-external validation, Steyerberg and Harrell 2016, J Clin Epidemiol 69:245).
    """
    subjects = _subjects(tables)
    options, seed = settings["split"], int(settings["seed"])
    levels = _levels(subjects, options.get("stratify", ()), settings)
    strata = {subject: tuple(row) for subject, row in zip(subjects["subject"], levels.to_numpy(), strict=True)}
    test = _draw_test(strata, options.get("test_fraction", 0), seed)
    train = {subject: stratum for subject, stratum in strata.items() if subject not in test}
    folds = options["folds"]
    by_site = options.get("by", "subject") == "site"
    if by_site:
        _check_sites(subjects, folds)
    if len(train) < folds:
        raise ConfigError(
            "fewer training subjects than folds", where="split.folds", expected=f"at most {len(train)}", found=folds
        )
    rows = []
    for repeat in range(options.get("repeats", 1)):
        fold_of = _sites(subjects) if by_site else _deal(train, folds, f"{seed}/{repeat}")
        _check_classes(subjects, fold_of, folds, repeat, settings["endpoints"])
        for cohort, subject in zip(subjects["cohort"], subjects["subject"], strict=True):
            role = Role.TEST if subject in test else Role.TRAIN
            rows.append((cohort, subject, role.value, repeat, fold_of.get(subject, pd.NA)))
    split = pd.DataFrame(rows, columns=COLUMNS).astype({"repeat": "Int64", "fold": "Int64"})
    return split.sort_values(["cohort", "subject", "repeat"], kind="stable").reset_index(drop=True)


def _subjects(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per subject (its first session), sorted; refuses what may not teach."""
    table = pd.concat(tables, ignore_index=True)
    other = table[table["role"] != CohortRole.DEVELOPMENT]
    if not other.empty:
        raise LeakageError(
            "only development cohorts are split", where=", ".join(sorted(other["cohort"].unique())),
            expected="role development", found=f"role {other['role'].iloc[0]}",
            todo="leave this cohort out of --subjects",
        )  # fmt: skip
    table = table.sort_values(["subject", "cohort", "session"], kind="stable")
    cohorts = table.groupby("subject")["cohort"].nunique()
    if (cohorts > 1).any():
        subject = cohorts.index[cohorts > 1][0]
        raise LeakageError(
            f"subject '{subject}' is in two development cohorts",
            where=", ".join(table.loc[table["subject"] == subject, "cohort"].unique()),
            todo="keep the subject in one of them",
        )
    return table.drop_duplicates("subject").reset_index(drop=True)


def _levels(subjects: pd.DataFrame, names: Sequence[str], settings: Mapping[str, Any]) -> pd.DataFrame:
    """Levels of the stratifying variables, as strings; numbers at their median."""
    levels = {}
    for name in names:
        endpoint = settings["endpoints"].get(name)
        survival = endpoint is not None and endpoint["kind"] == "survival"
        cells = subjects[f"{name}_event" if survival else name]
        number = endpoint is None and settings["columns"].get(name, {}).get("kind") == "number"
        if number:
            values = cells.astype("float64")
            text = pd.Series(np.where(values >= values.median(), "high", "low"), index=cells.index)
            levels[name] = text.mask(values.isna(), "missing")
        else:
            levels[name] = cells.astype("string").fillna("missing").replace({"": "missing"}).astype(object)
    return pd.DataFrame(levels, index=subjects.index)


def _sites(subjects: pd.DataFrame) -> dict[str, int]:
    """Fold of every subject where the folds are the sites."""
    sites = sorted(subjects["site"].unique())
    return {subject: sites.index(site) for subject, site in zip(subjects["subject"], subjects["site"], strict=True)}


def _check_sites(subjects: pd.DataFrame, folds: int) -> None:
    """Refuse to leave out sites one by one where a subject has none, or where there are not as many folds as sites."""
    if (subjects["site"].fillna("") == "").any():
        subject = subjects.loc[subjects["site"].fillna("") == "", "subject"].iloc[0]
        raise ConfigError("a subject without site", where="split.by: site", found=f"subject '{subject}'")
    sites = sorted(subjects["site"].unique())
    if len(sites) != folds:
        raise ConfigError(
            "there are not as many folds as sites", where="split.folds", found=folds,
            expected=f"{len(sites)}, one for each site with enrolled development subjects: {', '.join(sites)}",
        )  # fmt: skip


def _order(subjects: Sequence[str], salt: str) -> list[str]:
    """Subjects in the order of a hash of salt and identifier."""
    return sorted(subjects, key=lambda subject: hashlib.sha256(f"{salt}/{subject}".encode()).digest())


def _members(strata: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    """Subjects by stratum, the rarest stratum first."""
    members: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for subject, stratum in strata.items():
        members[stratum].append(subject)
    return dict(sorted(members.items(), key=lambda item: (len(item[1]), item[0])))


def _draw_test(strata: Mapping[str, tuple[str, ...]], fraction: float, seed: int) -> set[str]:
    """Test subjects: the fraction of every stratum, whole numbers by largest remainder."""
    members = _members(strata)
    wanted = {stratum: fraction * len(group) for stratum, group in members.items()}
    take = {stratum: int(share) for stratum, share in wanted.items()}
    rest = round(fraction * len(strata)) - sum(take.values())
    for stratum in sorted(wanted, key=lambda s: (take[s] - wanted[s], s))[: max(rest, 0)]:
        take[stratum] += 1
    return {s for stratum, group in members.items() for s in _order(group, f"{seed}/test")[: take[stratum]]}


def _deal(strata: Mapping[str, tuple[str, ...]], folds: int, salt: str) -> dict[str, int]:
    """Fold of every subject: each goes where its stratum, then its single levels, then the fold itself is smallest."""
    fold_of: dict[str, int] = {}
    joint, single, sizes = Counter[Any](), Counter[Any](), Counter[int]()
    for stratum, group in _members(strata).items():
        for subject in _order(group, salt):

            def cost(fold: int, stratum: tuple[str, ...] = stratum) -> tuple[int, int, int, int]:
                marginal = sum(single[fold, place, level] for place, level in enumerate(stratum))
                return joint[fold, stratum], marginal, sizes[fold], fold

            fold = min(range(folds), key=cost)
            fold_of[subject] = fold
            joint[fold, stratum] += 1
            sizes[fold] += 1
            single.update((fold, place, level) for place, level in enumerate(stratum))
    return fold_of


def _check_classes(
    subjects: pd.DataFrame, fold_of: Mapping[str, int], folds: int, repeat: int, endpoints: Mapping[str, Any]
) -> None:
    """Refuse a fold whose training cases are all of one class; tell when its judged cases are."""
    fold = subjects["subject"].map(fold_of)
    for name, spec in endpoints.items():
        if spec["kind"] != "binary":
            continue
        for held_out in range(folds):
            for value, text in ((1, "positive"), (0, "negative")):
                cases = (subjects[name] == value).fillna(False) & fold.notna()
                if not (cases & (fold != held_out)).any():
                    raise ConfigError(
                        f"no {text} training case of endpoint '{name}'",
                        where=f"split, repeat {repeat}, fold {held_out}",
                        expected="at least one outside the fold", found=f"{int(cases.sum())} {text} in all folds",
                        todo="use fewer folds, stratify by this endpoint, or remove it from the study",
                    )  # fmt: skip
                if not (cases & (fold == held_out)).any():
                    log.warning("repeat %d, fold %d holds no %s case of %s", repeat, held_out, text, name)
