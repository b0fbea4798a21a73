"""How unlike two cohorts are: standardised differences, missingness, and how well a model can tell them apart.

References
----------
Austin PC. Stat Med 2009;28:3083-3107. Yang D, Dalton JE. SAS Global Forum 2012, paper 335 (categories).
Debray TPA et al. J Clin Epidemiol 2015;68:279-289 (membership model).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.auc import auc
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import Floats

#: Folds of the membership model, and fewest rows of a cohort that allow it.
FOLDS, FEWEST = 5, 20


def standardised_difference(here: pd.Series, there: pd.Series, *, category: bool) -> Estimate:
    """Standardised difference of one column, `here` against `there`; missing values are left out.

    Numbers: (mean - mean) / sqrt((var + var) / 2), signed. Categories: the length of the difference of the level shares
    in units of their pooled covariance, without sign; for two levels the usual formula.
    """
    a, b = here.dropna(), there.dropna()
    n = len(a)
    if min(len(a), len(b)) < 2:
        return undefined("fewer than two known values in a cohort", n=n)
    if not category:
        x, z = a.to_numpy(float), b.to_numpy(float)
        spread = np.sqrt((x.var(ddof=1) + z.var(ddof=1)) / 2)
        if spread == 0:
            return undefined("the column is constant in both cohorts", n=n)
        return Estimate(float((x.mean() - z.mean()) / spread), n=n)
    levels = sorted({*a.unique(), *b.unique()}, key=str)
    # The last level follows from the others.
    p, q = (np.array([(side == level).mean() for level in levels[:-1]]) for side in (a, b))
    if len(levels) < 2:
        return undefined("the column is constant in both cohorts", n=n)
    covariance = (np.diag(p) - np.outer(p, p) + np.diag(q) - np.outer(q, q)) / 2
    if np.linalg.matrix_rank(covariance) < len(p):
        return undefined("a level has no variance in either cohort", n=n)
    return Estimate(float(np.sqrt((p - q) @ np.linalg.solve(covariance, p - q))), n=n)


def membership_auc(
    here: pd.DataFrame, there: pd.DataFrame, categories: Sequence[str], seed: int, level: float
) -> Estimate:
    """Cross-validated AUC of a logistic model that tells the rows `here` from the rows `there` by their columns.

    0.5: no difference that a linear model sees; 1: two different populations. Missing numbers are set to the median and
    marked by an indicator, missing categories are a level of their own.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(here), len(there)) < FEWEST:
        return undefined(f"fewer than {FEWEST} rows in a cohort", n=len(here))
    both = pd.concat([here, there], ignore_index=True)
    X = design(both, {name: name in categories for name in both.columns})
    if X.shape[1] == 0:
        return undefined("no column differs between the rows", n=len(here))
    y = np.repeat([1.0, 0.0], [len(here), len(there)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    score = cross_val_predict(model, X, y, cv=folds, method="decision_function")
    return auc(y, score, level=level)


def design(table: pd.DataFrame, category: Mapping[str, bool]) -> Floats:
    """Columns of the membership model: numbers with missing indicators, one per level; constant ones left out."""
    columns: list[Any] = []
    for name, is_category in category.items():
        cells = table[name]
        if is_category:
            text = cells.astype(object).where(cells.notna(), "").astype(str)
            columns += [(text == level).to_numpy(float) for level in sorted(text.unique())[1:]]
        else:
            numbers = cells.to_numpy(float)
            missing = np.isnan(numbers)
            if not missing.all():
                columns += [np.where(missing, np.nanmedian(numbers), numbers), missing.astype(float)]
    columns = [column for column in columns if np.ptp(column) > 0]
    return np.column_stack(columns) if columns else np.empty((len(table), 0))
