"""Odds ratios of a clinical logistic model's variables, each alone and all together: they describe its training rows.

Nothing is chosen by them. A variable enters a model because the configuration names it; choosing those that are
significant alone loses confounders and makes what is left look stronger than it is (Sun GW. J Clin Epidemiol
1996;49:907-916).

The columns of a row are those of every metrics table: ``group`` is a variable or a level of it (``stage=B``),
``comparator`` is ``univariable`` or ``multivariable``. A reference level has counts and no ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from hccflow.errors import ConfigError
from hccflow.metrics.collinearity import inflation
from hccflow.metrics.estimate import Estimate, metrics_table
from hccflow.metrics.logistic import needs_firth, odds_ratios
from hccflow.models.fold import Fold
from hccflow.models.parameters import is_clinical_logistic
from hccflow.train.training import development


def odds_table(
    name: str, settings: Mapping[str, Any], subjects: pd.DataFrame, split: pd.DataFrame, level: float = 0.95
) -> pd.DataFrame:
    """Metrics ``n_subjects``, ``odds_ratio`` and ``vif`` of a clinical logistic model.

    Parameters
    ----------
    name : str
        Model, a key of ``settings["models"]``.
    settings, subjects, split
        As for `hccflow.train.training.train`.
    level : float

    Raises
    ------
    ConfigError
        The model has other predictors than clinical columns, or another learner.
    LeakageError
        A cohort of another role.

    Notes
    -----
    Rows are those of the final fit, the first of a subject with several sessions. Missing values are not filled in: a
    variable alone has the rows in which it is known, the variables together those in which all are.
    """
    spec = settings["models"][name]
    if not is_clinical_logistic(spec):
        raise ConfigError(
            f"model '{name}' has no odds ratios", where=f"models.{name}",
            expected="clinical columns alone (no roi) and the learner logistic or firth",
            found=f"kind {spec['kind']}, learner {spec['learner']}" + (", roi" if "roi" in spec else ""),
        )  # fmt: skip
    rows, encoding = development(name, settings, subjects, split)
    fold = rows.all()
    where = {"study": settings["study"], "endpoint": spec["endpoint"], "model": name}
    where["cohort"] = "+".join(sorted(set(rows.rows["cohort"])))
    return metrics_table(_rows(fold, encoding.clinical, spec["learner"], where, level))


def _rows(
    fold: Fold, columns: tuple[Mapping[str, Any], ...], learner: str, where: Mapping[str, str], level: float
) -> list[dict[str, Any]]:
    first = ~pd.Series(fold.subjects).duplicated().to_numpy()
    x, event = fold.x[first].reset_index(drop=True), pd.Series(fold.y[first])
    terms: dict[str, list[str]] = {}
    out = []
    for column in columns:
        counted, named = _levels(x, column)
        x = x.rename(columns=named)
        if named:  # a category of one level has no ratio
            groups = list(named.values())
            terms[groups[0].partition("=")[0]] = groups
        for group, members in counted.items():
            count: dict[str, Any] = {"n": int(members.sum()), "n_events": int(event[members].sum())}
            out.append(Estimate(float(count["n"]), **count).row("n_subjects", group=group, **where))
    samples = [("univariable", x[names].dropna()) for names in terms.values()]
    if len(terms) > 1:
        together = x.dropna()
        samples.append(("multivariable", together))
        for term, factor in inflation(together, terms).items():
            out.append(factor.row("vif", group=term, comparator="multivariable", **where))
    # One method for the whole table: ratios by two methods are not compared.
    faults = ["the learner of the model"] if learner == "firth" else []
    faults += [fault for _, part in samples if (fault := needs_firth(part, event[part.index].to_numpy()))]
    for comparator, part in samples:
        found = odds_ratios(part, event[part.index].to_numpy(), firth=bool(faults), level=level)
        for group, value in found.items():
            method = f"{value.ci_method}: {faults[0]}" if faults and value.ci_method else value.ci_method
            out.append(replace(value, ci_method=method).row("odds_ratio", group=group, comparator=comparator, **where))
    return out


def _levels(x: pd.DataFrame, column: Mapping[str, Any]) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Who has which level of a column (of a number: who has any), and predictors -> names of the rows of the table."""
    name = column["name"]
    if column["kind"] == "category":
        named = {f"{name} = {level}": f"{name}={level}" for level in column["levels"][1:]}
        reference = x[list(named)].eq(0).all(axis=1)
        return {f"{name}={column['levels'][0]}": reference, **{n: x[p] == 1 for p, n in named.items()}}, named
    if column["kind"] == "binary":
        return {f"{name}=0": x[name] == 0, f"{name}=1": x[name] == 1}, {name: f"{name}=1"}
    predictor = f"{name} ({column['transform']})" if column["transform"] else name
    return {predictor: x[predictor].notna()}, {predictor: predictor}
