"""What each predictor adds to each score of a frozen model of tables: Shapley values on the scale of the logit.

Apart from `learners`, so that no edit of an explanation trains a model again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logit

from hccflow.models.encoding import KEYS
from hccflow.models.fusion import FusionModel
from hccflow.models.learners import Linear, Trees
from hccflow.models.tabular import TabularModel

#: `feature` of the row that carries what the model says of a case before it looks at any predictor.
BASE = "(base)"
COLUMNS = [*KEYS, "feature", "value", "contribution", "reason"]


@dataclass(frozen=True)
class Contributions:
    """Shapley values of rows.

    Attributes
    ----------
    base : float
        Logit without any predictor; base and a row's contributions add up to the logit of its score.
    values : pandas.DataFrame
        What was given for each predictor that the learner uses, encoded, neither imputed nor standardised.
    parts : numpy.ndarray
        Contributions, of the shape of `values`.
    """

    base: float
    values: pd.DataFrame
    parts: np.ndarray

    def table(self, keys: pd.DataFrame) -> pd.DataFrame:
        """Tidy rows: for each case one of the base and one for each predictor."""
        names = [BASE, *self.values.columns]
        count = len(keys)
        values = np.column_stack([np.full(count, np.nan), self.values.to_numpy(float)])
        parts = np.column_stack([np.full(count, self.base), self.parts])
        tidy = keys.loc[keys.index.repeat(len(names))]
        return tidy.assign(feature=names * count, value=values.ravel(), contribution=parts.ravel(), reason="")


def contributions(
    model: TabularModel | FusionModel, subjects: pd.DataFrame, features: pd.DataFrame | None
) -> Contributions:
    """Exact contributions of every predictor to the logit of each row's score.

    Parameters
    ----------
    model : TabularModel or FusionModel
        Of a fusion the predictors are the logits of its inputs.
    subjects, features : pandas.DataFrame
        Tables of rows, at least one, that the model can score.

    Returns
    -------
    Contributions
        Linear models: coefficient times distance from the training mean, in training SD; the Shapley value where the
        other predictors are drawn as if they were independent. Trees: path-dependent TreeSHAP (Lundberg et al., Nat
        Mach Intell 2020) of XGBoost; a predictor that is left out follows each split in the shares of the training
        rows (their weights). Predictors with coefficient 0 or without any split add 0 and are left out.
    """
    fitted = model.stacker if isinstance(model, FusionModel) else model
    x, _ = fitted.encoding.encode(subjects, features)
    z = fitted.preparation.apply(x)
    learner = fitted.learner
    if isinstance(learner, Linear):
        # The training mean of every standardised column is 0.
        base, parts = learner.intercept, z[learner.coef.index] * learner.coef
        parts = parts[learner.coef.index[learner.coef != 0]]
    elif isinstance(learner, Trees):
        base, parts = _tree_parts(learner, z)
    else:
        base, parts = float(logit(learner.predict(z)[0])), z[[]]
    absent = fitted.preparation.indicators
    given = {name: x[absent[name]].isna().astype(float) if name in absent else x[name] for name in parts.columns}
    return Contributions(base, pd.DataFrame(given, index=x.index, columns=parts.columns), parts.to_numpy(float))


def _tree_parts(learner: Trees, z: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """TreeSHAP of the predictors on which any tree splits; the base is the same for every row."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(learner.booster.encode()))
    data = xgboost.DMatrix(z[list(learner.names)].to_numpy(float), nthread=1)
    found = booster.predict(data, pred_contribs=True).astype(float)
    splits = booster.get_score(importance_type="weight")
    parts = pd.DataFrame(found[:, :-1], index=z.index, columns=list(learner.names))
    return float(found[0, -1]), parts[[name for i, name in enumerate(learner.names) if f"f{i}" in splits]]
