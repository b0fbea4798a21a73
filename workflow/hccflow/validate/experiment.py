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
from hccflow.metrics.concordance import (
    Concordance,
    concordance_difference,
    concordance_difference_within,
    concordance_within,
)
from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.metrics.exchange import exchanged
from hccflow.metrics.inputs import EMPTY
from hccflow.metrics.multiplicity import adjust
from hccflow.validate.options import Options
from hccflow.validate.resampling import Scored, bootstrap_cohort
from hccflow.validate.scores import collect
from hccflow.validate.within import auc_within_folds, difference_within_folds

#: Columns of the table of variants.
COLUMNS = ["sweep", "base", "variant", "label", "changes", "digest", "declared"]
OUTCOME = ["time_days", "event", "risk"]
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
        Tidy metrics, `group` the sweep, for every endpoint that base and variant have learnt: ``auc_within_folds``,
        ``auc`` (pooled) and ``brier`` of each, ``auc_difference_within_folds`` and ``auc_difference`` (DeLong) and
        ``brier_difference`` (bootstrap) of variant minus base, all paired; of a survival endpoint
        ``c_harrell_within_folds``, ``c_harrell``, ``c_difference_within_folds`` and ``c_difference`` (jackknife,
        paired).
        The test of a variant is the one within folds, whose p is that of the exchange test:
        pooled, an offset between the trainings of two folds
        counts as a difference between their subjects. The rows ``…_holm`` are adjusted over all these tests and one
        more, with p = 1, for each variant that was tried and is no longer declared: no p among the declared ones could
        weigh more.

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
    rows: list[dict[str, Any]] = []
    tests: list[tuple[dict[str, Any], str, Estimate]] = []
    for sweep, part in declared.groupby("sweep", sort=False):
        for base, names in part.groupby("base", sort=False)["variant"]:
            heads = {name: frozen[name]["heads"] for name in (base, *names)}
            for endpoint, about in heads[base].items():
                judge: Any = _Survival if about["survival"] else _Binary
                own = {n: judge(n, scores[n], endpoint, str(sweep), options) for n in heads if endpoint in heads[n]}
                for name, one in own.items():
                    rows += one.alone()
                    if name != base:
                        where, test, more = one.against(own[base])
                        tests.append((where, one.difference, test))
                        rows += [test.row(one.difference, **where), *more]
    dropped = int((variants["declared"] == 0).sum())
    adjusted = adjust([*(test.p for *_, test in tests), *[1.0] * dropped])[: len(tests)]
    method = f"Holm, {len(tests) + dropped} tests of {len(variants)} variant{'s' * (len(variants) != 1)} ever tried"
    for (where, metric, test), p in zip(tests, adjusted, strict=True):
        holm = replace(test, p=p, ci_low=None, ci_high=None, ci_method=method)
        rows.append(holm.row(f"{metric}_holm", **where))
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


class _Binary:
    """One model's out-of-fold probabilities of one endpoint, over all development cohorts."""

    difference = "auc_difference_within_folds"

    def __init__(self, name: str, table: pd.DataFrame, endpoint: str, sweep: str, options: Options) -> None:
        self.scores = collect(_development(name, table, endpoint), {})[0]
        self.options, self.where = options, self.scores.where(group=sweep)

    def alone(self) -> list[dict[str, Any]]:
        """AUC within folds and pooled, and Brier score."""
        y, s = self.scores.arrays
        found = {
            "auc_within_folds": auc_within_folds(self.scores, self.options.level),
            "auc": auc(y, s, level=self.options.level), "brier": brier(y, s)[0],
        }  # fmt: skip
        return [estimate.row(metric, **self.where) for metric, estimate in found.items()]

    def against(self, base: _Binary) -> tuple[dict[str, Any], Estimate, list[dict[str, Any]]]:
        """Difference of the AUCs within folds, and the rows of the pooled one and of that of the Brier scores."""
        where = {**self.where, "comparator": base.scores.model}
        both = self.scores.used[["y", "score"]].join(base.scores.used["score"].rename("other"), how="inner")
        if both.empty:
            return where, undefined(EMPTY, n=0), []
        columns = (both[name].to_numpy(float) for name in ("y", "score", "other"))
        pooled = paired_auc(*columns, level=self.options.level).difference
        more = [pooled.row("auc_difference", **where), self._brier(base).row("brier_difference", **where)]
        return where, difference_within_folds(self.scores, base.scores, self.options.level), more

    def _brier(self, base: _Binary) -> Estimate:
        """Difference of the Brier scores on common rows, resampled by case."""
        one, other, options = self.scores, base.scores, self.options
        index = one.used.index.union(other.used.index)
        y = one.used["y"].reindex(index).fillna(other.used["y"]).to_numpy(float)
        scored = [
            Scored(s.model, s.used["score"].reindex(index).to_numpy(float), s.probability, None) for s in (one, other)
        ]
        seed = options.seed_of("experiment", one.endpoint, one.model)
        pair = (one.model, other.model)
        drawn = bootstrap_cohort(y, scored, [pair], replace(options, net_benefit_at=()), seed)
        return drawn.get((*pair, "brier_difference", None), undefined(EMPTY, n=0))


class _Survival:
    """One model's out-of-fold risks of one survival endpoint, over all development cohorts.

    A subject's risks are averaged over sessions and, pooled over folds, over repeats; within folds each repeat is
    judged by itself.
    """

    difference = "c_difference_within_folds"

    def __init__(self, name: str, table: pd.DataFrame, endpoint: str, sweep: str, options: Options) -> None:
        table = _development(name, table, endpoint).dropna(subset=["risk", "time_days", "event"])
        self.options = options
        self.table = table
        self.rows = self.table.groupby("subject")[OUTCOME].mean()
        self.where = {
            "study": table["study"].iloc[0], "endpoint": endpoint, "cohort": table["cohort"].iloc[0], "model": name,
            "group": sweep,
        }  # fmt: skip

    def alone(self) -> list[dict[str, Any]]:
        """Harrell's C within folds and pooled; a competing event counts as censoring."""
        pooled = self._concordance(self.rows).estimate(self.options.level)
        within = concordance_within(self._repeats(self.rows.index), self.options.level)
        return [within.row("c_harrell_within_folds", **self.where), pooled.row("c_harrell", **self.where)]

    def against(self, base: _Survival) -> tuple[dict[str, Any], Estimate, list[dict[str, Any]]]:
        """Difference of the C within folds on common subjects, and the row of the pooled one."""
        where = {**self.where, "comparator": base.where["model"]}
        index = self.rows.index.intersection(base.rows.index)
        one, other = (self._concordance(rows.loc[index]) for rows in (self.rows, base.rows))
        pooled = concordance_difference(one, other, self.options.level).row("c_difference", **where)
        within = concordance_difference_within(self._repeats(index), base._repeats(index), self.options.level)
        both = self._by_fold("score").join(base._by_fold("other")["other"], how="inner")
        return where, exchanged(within, both.reset_index()), [pooled]

    def _by_fold(self, name: str) -> pd.DataFrame:
        """Outcome and, under a name, risk of each subject, by repeat, fold and subject."""
        return self.table.groupby(["repeat", "fold", "subject"])[OUTCOME].mean().rename(columns={"risk": name})

    def _repeats(self, index: pd.Index) -> list[list[Concordance]]:
        """Concordance of these subjects in each fold of each repeat."""
        table = self._by_fold("risk")
        table = table[table.index.get_level_values("subject").isin(index)]
        return [
            [self._concordance(part) for _, part in repeat.groupby("fold")] for _, repeat in table.groupby("repeat")
        ]

    @staticmethod
    def _concordance(rows: pd.DataFrame) -> Concordance:
        time, event, risk = (rows[name].to_numpy(float) for name in ("time_days", "event", "risk"))
        return Concordance(time, event == 1, risk)


def _development(name: str, table: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Out-of-fold scores of an endpoint under one name for all development cohorts."""
    other = table["kind"] != ScoreKind.OOF.value
    if other.any():
        raise LeakageError(
            "variants are compared on out-of-fold scores", where=f"model {name}", expected=ScoreKind.OOF.value,
            found=table.loc[other, "kind"].iloc[0],
        )  # fmt: skip
    table = table[table["endpoint"] == endpoint]
    names = table["cohort"].unique()
    subject = table["cohort"] + "/" + table["subject"]
    return table.assign(cohort=names[0] if len(names) == 1 else DEVELOPMENT, subject=subject)
