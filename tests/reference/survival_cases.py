"""The survival numbers of the reference cases, read from the metrics table that `hccflow survive` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.concordance import Concordance, concordance_difference
from hccflow.survive import Settings, analyse

from .common import Case, Row, cases
from .survival_more import more_rows

Z = float(stats.norm.ppf(0.975))
#: Standard error beyond which R's coefficient is where its iteration stopped, not a maximum.
ENDLESS = 1e3
NAMES = {"score_model_a": "score", "score_model_b": "score", "ghigh": "high"}


def rows(stats_folder: Path) -> list[Row]:
    """Compare every survival number of every case below `stats_folder`."""
    return [
        row
        for case in cases(stats_folder)
        for cohort, numbers in case.expected.get("cohorts", {}).items()
        if numbers.get("survival")
        for row in Cohort(case, cohort, numbers["survival"]).rows()
    ] + more_rows()


def long_table(table: pd.DataFrame) -> pd.DataFrame:
    """A case's input as a predictions table: one row per subject and model."""
    parts = [
        table.rename(columns={"case_id": "subject", "time": "time_days"}).assign(
            model=m, kind="frozen", y_prob=table[f"score_model_{m}"]
        )
        for m in "ab"
        if f"score_model_{m}" in table
    ]
    return pd.concat(parts, ignore_index=True)


class Cohort:
    """One cohort of one case: R's numbers beside ours."""

    def __init__(
        self, case: Case, cohort: str, expected: dict[str, Any], metrics: dict[str, pd.DataFrame] | None = None
    ) -> None:
        self.case, self.cohort, self.r, self.config = case.name, cohort, expected, case.config
        table = case.table
        self.table = table[(table["cohort"] == cohort) & table["time"].notna() & table["event"].notna()]
        self.multi = listed(self.config.get("cox_multi"))
        cut = self.config.get("km_cut")
        times = sorted({float(t) for key in ("km_times", "score_times") for t in listed(self.config.get(key))})
        self.metrics = metrics or {
            kind: analyse(
                long_table(table[table["cohort"] == cohort]),
                Settings(
                    covariates=self.multi, cut={} if cut is None else {"a": float(cut)}, times=times,
                    tau=self.config.get("rmst_tau"), conf_type=kind, ties="breslow" if kind == "plain" else "efron",
                ),
            ).metrics
            for kind in ("log", "log-log", "plain")
        }  # fmt: skip

    def get(
        self,
        metric: str,
        *,
        model: str = "a",
        group: str = "",
        comparator: str = "",
        at: float = np.nan,
        conf: str = "log",
    ) -> pd.Series:
        """The one row of the table that has this name."""
        table = self.metrics[conf]
        table = table[(table["metric"] == metric).to_numpy() & (table["model"] == model).to_numpy()]
        same = (table["group"] == group) & (table["comparator"] == comparator)
        same &= table["at"].isna() if np.isnan(at) else table["at"] == at
        found = table[same]
        assert len(found) == 1, f"{metric} {model} {group} {comparator} {at}: {len(found)} rows"
        return found.iloc[0]

    def row(self, name: str, ours: Any, r: Any, tolerance: float, relative: bool = False) -> Row:
        return Row(self.case, f"{self.cohort} {name}", plain(ours), plain(r), tolerance, relative)

    def rows(self) -> Iterator[Row]:
        yield from self.curves()
        yield from self.groups()
        for model in "ab":
            if f"c_{model}" in self.r:
                yield from self.concordance(model)
                yield from self.cox(model, "univariable", self.r[f"cox_uni_{model}"], self.r.get(f"zph_uni_{model}"))
        yield from self.comparison()
        if "cox_multi_efron" in self.r:
            yield from self.cox("a", "clinical", self.r["cox_multi_efron"], self.r.get("zph_multi"))
            yield from self.cox("a", "clinical", self.r["cox_multi_breslow"], None, conf="plain")
        yield from self.at_times()

    def curves(self) -> Iterator[Row]:
        for conf, r in self.r["km_all"].items():
            yield from self.curve(r, r["at"], "all", conf)
        follow = self.get("follow_up_median", group="all")["value"]
        yield self.row("reverse KM median", follow, self.r["median_followup_reverse_km"], 1e-8)
        if "rmst_all" in self.r:
            yield from self.area("rmst", self.get("rmst", group="all", at=self.config["rmst_tau"]), self.r["rmst_all"])

    def curve(self, median: dict[str, Any], at: list[dict[str, Any]], group: str, conf: str) -> Iterator[Row]:
        ours = self.get("km_median", group=group, conf=conf)
        for key, side in (("value", "median"), ("ci_low", "lo"), ("ci_high", "hi")):
            yield self.row(f"km {group} {conf} median {side}", ours[key], median[side], 1e-8)
        for r in at:
            ours = self.get("km_survival", group=group, at=float(r["time"]), conf=conf)
            name = f"km {group} {conf} t={r['time']:g}"
            yield self.row(f"{name} S", ours["value"], r["surv"], 1e-8)
            yield self.row(f"{name} low", ours["ci_low"], r.get("lo"), 1e-7)
            yield self.row(f"{name} high", ours["ci_high"], r.get("hi"), 1e-7)
            risk = self.get("n_at_risk", group=group, at=float(r["time"]), conf=conf)["value"]
            yield self.row(f"{name} at risk", risk, r["at_risk"], 1e-8)

    def area(self, name: str, ours: pd.Series, r: dict[str, Any]) -> Iterator[Row]:
        yield self.row(name, ours["value"], r["rmst"], 1e-6)
        yield self.row(f"{name} SE", (ours["ci_high"] - ours["ci_low"]) / (2 * Z), r["se"], 1e-6)

    def groups(self) -> Iterator[Row]:
        r = self.r.get("km_groups")
        if not r:
            return
        for conf in ("log", "log-log"):
            for group in ("low", "high"):
                at = [one for one in r[f"at_{conf}"] if one["stratum"].endswith(group)]
                yield from self.curve(r[f"median_{conf}"][group], at, group, conf)
        for name, metric in (("logrank", "logrank_chi2"), ("peto_rho1", "logrank_peto_chi2")):
            ours = self.get(metric)
            yield self.row(f"{name} chi2", ours["value"], r[name]["chisq"], 1e-8)
            yield self.row(f"{name} p", ours["p"], r[name]["p"], 1e-8)
        yield from self.terms("a", "low", r["cox"], "log")
        if "rmst" in r:
            tau = r["rmst"]["tau"]
            for group in ("low", "high"):
                yield from self.area(f"rmst {group}", self.get("rmst", group=group, at=tau), r["rmst"][group])
            ours = self.get("rmst_difference", group="low", comparator="high", at=tau)
            yield self.row("rmst difference", ours["value"], r["rmst"]["diff_low_minus_high"], 1e-6)
            yield self.row("rmst difference low", ours["ci_low"], r["rmst"]["ci"][0], 1e-6)
            yield self.row("rmst difference high", ours["ci_high"], r["rmst"]["ci"][1], 1e-6)
            yield self.row("rmst difference p", ours["p"], r["rmst"]["p"], 1e-6)

    def concordance(self, model: str) -> Iterator[Row]:
        r = self.r[f"c_{model}"]
        if "harrell_c" not in r:
            return
        ours = self.get("c_harrell", model=model)
        yield self.row(f"{model} Harrell C", ours["value"], r["harrell_c"], 1e-9)
        yield self.row(f"{model} Harrell C SE", (ours["ci_high"] - ours["ci_low"]) / (2 * Z), r["se"], 1e-8)
        yield self.row(f"{model} Harrell C low", ours["ci_low"], r["ci"][0], 1e-7)
        uno = self.get("c_uno", model=model)
        yield self.row(f"{model} Uno C", uno["value"], r["uno_c_nG2"], 1e-7)
        yield self.row(f"{model} Uno C SE", (uno["ci_high"] - uno["ci_low"]) / (2 * Z), r["uno_se"], 1e-5)
        scored = self.table.dropna(subset=[f"score_model_{model}"])
        pairs = Concordance(scored["time"], scored["event"] == 1, scored[f"score_model_{model}"]).pairs
        yield self.row(f"{model} comparable pairs", pairs, r["concordant"] + r["discordant"] + r["tied_x"], 1e-9)

    def comparison(self) -> Iterator[Row]:
        r = self.r.get("c_compare")
        if not r or "diff" not in r:
            return
        ours = self.get("c_difference", comparator="b")
        yield self.row("C difference", ours["value"], r["diff"], 1e-7)
        yield self.row("C difference SE", (ours["ci_high"] - ours["ci_low"]) / (2 * Z), r["se"], 1e-7)
        yield self.row("C difference p", ours["p"], r["p"], 1e-7)
        both = self.table.dropna(subset=["score_model_a", "score_model_b"])
        a, b = (Concordance(both["time"], both["event"] == 1, -both[f"score_model_{m}"]) for m in "ab")
        turned = concordance_difference(a, b).value
        if r["diff"] is not None:
            yield self.row("C difference of turned scores", turned, -r["diff"], 1e-7)

    def cox(
        self, model: str, comparator: str, r: dict[str, Any], zph: dict[str, Any] | None, conf: str = "log"
    ) -> Iterator[Row]:
        if "terms" not in r:
            return
        yield from self.terms(model, comparator, r, conf)
        for test in ("lr", "score"):
            ours = self.get(f"cox_{test}_chi2", model=model, group="GLOBAL", comparator=comparator, conf=conf)
            name = f"{model} cox {comparator} {conf} {test}"
            yield self.row(f"{name} chi2", ours["value"], r[test][0], 1e-5, True)
            yield self.row(f"{name} p", ours["p"], r[test][2], 1e-5)
        endless = any((values["se"] or 0) > ENDLESS for values in r["terms"].values())
        for transform, terms in (zph or {}).items() if not endless else ():
            label = comparator if transform == "km" else f"{comparator}, {transform}"
            for term, values in terms.items():
                ours = self.get("zph_chi2", model=model, group=NAMES.get(term, term), comparator=label)
                name = f"{model} zph {comparator} {transform} {term}"
                yield self.row(f"{name} chi2", ours["value"], values["chisq"], 1e-5)
                yield self.row(f"{name} p", ours["p"], values["p"], 1e-5)

    def terms(self, model: str, comparator: str, r: dict[str, Any], conf: str) -> Iterator[Row]:
        for term, values in r["terms"].items():
            where = {"model": model, "group": NAMES.get(term, term), "comparator": comparator, "conf": conf}
            coef, ratio = self.get("cox_coef", **where), self.get("cox_hr", **where)
            name = f"{model} cox {comparator} {conf} {term}"
            if (values["se"] or 0) > ENDLESS:
                # R warns that the likelihood is monotone and prints where it stopped; ours is empty with that reason.
                values = dict.fromkeys(values)
            yield self.row(f"{name} coef", coef["value"], values["coef"], 1e-5, True)
            yield self.row(f"{name} SE", (coef["ci_high"] - coef["ci_low"]) / (2 * Z), values["se"], 1e-5, True)
            yield self.row(f"{name} p", coef["p"], values["p"], 1e-5)
            for key, side in (("value", "hr"), ("ci_low", "hr_lo"), ("ci_high", "hr_hi")):
                yield self.row(f"{name} {side}", ratio[key], values[side], 1e-5, True)

    def at_times(self) -> Iterator[Row]:
        scores = [f"score_model_{m}" for m in "ab" if f"score_model_{m}" in self.table]
        complete = self.table[scores].notna().all(axis=None)
        for t, r in (self.r.get("td") or {}).items():
            if not isinstance(r, dict):
                continue
            for metric, key, table in (("auc_t", "AUC", r["auc"]), ("brier_t", "Brier", r["brier"])):
                for one in table:
                    null = one["model"] == "Null model"
                    if null and not complete:
                        continue
                    model = "a" if null else one["model"]
                    # R's table is of the rows that both models scored.
                    comparator = {"a": "b", "b": "a"}[model] if self.shortened(model) else ""
                    name = "brier_t_null" if null else metric
                    ours = self.get(name, model=model, at=float(t), comparator=comparator)
                    yield self.row(f"{one['model']} {metric} t={t}", ours["value"], one[key], 1e-6)
                    if not null:
                        error = (ours["ci_high"] - ours["ci_low"]) / (2 * Z)
                        yield self.row(f"{one['model']} {metric} t={t} SE", error, one["se"], 1e-6)
            for one in r["auc_contrast"]:
                ours = self.get("auc_t_difference", comparator="b", at=float(t))
                yield self.row(f"auc_t difference t={t}", -ours["value"], one["delta.AUC"], 1e-6)
                yield self.row(f"auc_t difference t={t} p", ours["p"], one["p"], 1e-6)
            if complete:
                ratio = self.get("oe_ratio_t", at=float(t))["value"]
                yield self.row(f"a observed / expected t={t}", ratio, r["oe_a"]["obs"] / r["oe_a"]["mean_pred"], 1e-6)

    def shortened(self, model: str) -> bool:
        """Whether the other model lacks scores of subjects that this one has."""
        own, other = (self.table[f"score_model_{m}"].notna() for m in (model, {"a": "b", "b": "a"}[model]))
        return bool((own & ~other).any())


def listed(value: Any) -> list[Any]:
    """A list of one may stand as its only element in JSON written by R."""
    return value if isinstance(value, list) else [] if value is None else [value]


def plain(value: Any) -> float | None:
    if value is None or isinstance(value, str | list) or pd.isna(value):
        return None
    return float(value)
