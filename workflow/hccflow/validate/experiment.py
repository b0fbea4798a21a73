"""Variants against their bases on out-of-fold scores of the development cohorts; everything ever tried is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import LeakageError
from hccflow.ids import ScoreKind
from hccflow.metrics.auc import auc, paired_auc
from hccflow.metrics.calibration import brier
from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.metrics.inputs import EMPTY
from hccflow.metrics.multiplicity import adjust
from hccflow.validate.options import Options
from hccflow.validate.resampling import Scored, bootstrap_cohort
from hccflow.validate.scores import ScoreSet, collect

#: Columns of the table of variants.
COLUMNS = ["sweep", "base", "variant", "label", "changes", "digest", "declared"]
#: Name of the rows in place of a cohort, where several cohorts are the development set.
DEVELOPMENT = "development"


def compare(
    scores: Mapping[str, pd.DataFrame],
    frozen: Mapping[str, Mapping[str, Any]],
    variants: pd.DataFrame,
    options: Options,
) -> pd.DataFrame:
    """Compare every declared variant with its base on the subjects that both have scored.

    Parameters
    ----------
    scores : mapping
        Out-of-fold scores (schema ``predictions``) by model: bases and variants.
    frozen : mapping
        What was frozen with each of them.
    variants : pandas.DataFrame
        Every variant ever tried (`tried`).
    options : Options

    Returns
    -------
    pandas.DataFrame
        Tidy metrics, `group` the sweep: ``auc`` and ``brier`` of bases and variants, ``auc_difference`` (DeLong) and
        ``brier_difference`` (bootstrap) of variant minus base, both paired, and ``auc_difference_holm``, adjusted over
        all variants ever tried: one that is no longer declared counts as a test with p = 1, the most it can weigh.

    Raises
    ------
    LeakageError
        A score is not out of fold, or a variant was trained on another split or endpoint than its base.
    """
    declared = variants[variants["declared"] == 1]
    for base, name in zip(declared["base"], declared["variant"], strict=True):
        for key in ("split_digest", "endpoint"):
            if frozen[name][key] != frozen[base][key]:
                raise LeakageError(
                    f"variant and base differ in their {key.removesuffix('_digest')}", where=f"{name}, {base}",
                    expected=str(frozen[base][key])[:12], found=str(frozen[name][key])[:12], todo="train both again",
                )  # fmt: skip
    sets = {name: _development(name, table) for name, table in scores.items()}
    rows: list[dict[str, Any]] = []
    tests: list[tuple[dict[str, Any], Estimate]] = []
    for sweep, part in declared.groupby("sweep", sort=False):
        for base, names in part.groupby("base", sort=False)["variant"]:
            for name in (base, *names):
                rows += _alone(sets[str(name)], str(sweep), options)
            for name in names:
                where, test = _against(sets[str(name)], sets[str(base)], str(sweep), options)
                tests.append((where, test))
                rows += [test.row("auc_difference", **where), _brier(sets[str(name)], sets[str(base)], where, options)]
    dropped = int((variants["declared"] == 0).sum())
    adjusted = adjust([*(test.p for _, test in tests), *[1.0] * dropped])[: len(tests)]
    method = f"Holm, {len(variants)} variant{'s' * (len(variants) != 1)} ever tried"
    for (where, test), p in zip(tests, adjusted, strict=True):
        holm = replace(test, p=p, ci_low=None, ci_high=None, ci_method=method)
        rows.append(holm.row("auc_difference_holm", **where))
    return metrics_table(rows)


def tried(declared: Sequence[Mapping[str, Any]], ledger: pd.DataFrame) -> pd.DataFrame:
    """Variants of the configuration, then those that the ledger knows and the configuration no longer has.

    Parameters
    ----------
    declared : sequence of mapping
        ``sweep, base, variant, label, changes, digest``.
    ledger : pandas.DataFrame
        See `hccflow.ledger.read_variants`.
    """
    here = pd.DataFrame([dict(one) for one in declared], columns=COLUMNS).assign(declared=1)
    known = set(zip(here["base"], here["digest"], strict=True))
    there = [pair in known for pair in zip(ledger["base"], ledger["digest"], strict=True)]
    gone = ledger[~np.array(there, dtype=bool)]
    return pd.concat([here, gone.assign(label="", declared=0)[COLUMNS]], ignore_index=True)


def _development(name: str, table: pd.DataFrame) -> ScoreSet:
    """Scores over all development cohorts together: a subject is in one of them."""
    other = table["kind"] != ScoreKind.OOF.value
    if other.any():
        raise LeakageError(
            "variants are compared on out-of-fold scores", where=f"model {name}", expected=ScoreKind.OOF.value,
            found=table.loc[other, "kind"].iloc[0],
        )  # fmt: skip
    names = table["cohort"].unique()
    subject = table["cohort"] + "/" + table["subject"]
    return collect(table.assign(cohort=names[0] if len(names) == 1 else DEVELOPMENT, subject=subject), {})[0]


def _alone(scores: ScoreSet, sweep: str, options: Options) -> list[dict[str, Any]]:
    y, s = scores.arrays
    where = scores.where(group=sweep)
    return [auc(y, s, level=options.level).row("auc", **where), brier(y, s)[0].row("brier", **where)]


def _against(one: ScoreSet, base: ScoreSet, sweep: str, options: Options) -> tuple[dict[str, Any], Estimate]:
    both = one.used[["y", "score"]].join(base.used["score"].rename("other"), how="inner")
    where = one.where(group=sweep, comparator=base.model)
    if both.empty:
        return where, undefined(EMPTY, n=0)
    columns = (both[name].to_numpy(float) for name in ("y", "score", "other"))
    return where, paired_auc(*columns, level=options.level).difference


def _brier(one: ScoreSet, base: ScoreSet, where: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Difference of the Brier scores on common rows, resampled by case."""
    index = one.used.index.union(base.used.index)
    y = one.used["y"].reindex(index).fillna(base.used["y"]).to_numpy(float)
    scored = [Scored(s.model, s.used["score"].reindex(index).to_numpy(float), s.probability, None) for s in (one, base)]
    seed = options.seed_of("experiment", one.endpoint, one.model)
    drawn = bootstrap_cohort(y, scored, [(one.model, base.model)], replace(options, net_benefit_at=()), seed)
    estimate = drawn.get((one.model, base.model, "brier_difference", None), undefined(EMPTY, n=0))
    return estimate.row("brier_difference", **where)
