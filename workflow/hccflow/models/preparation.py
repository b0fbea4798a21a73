"""Everything between the predictors and the learner, fitted on training rows: impute, filter, standardise, select."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import FitError
from hccflow.metrics.intraclass import mean_squares
from hccflow.models.fold import Fold
from hccflow.models.lasso import fit_lasso

#: Fewest training rows with, and without, a value for which its absence becomes a predictor of its own.
MIN_MISSING = 5
#: Below this fraction of its mean a standard deviation is rounding.
CONSTANT = 1e-12


@dataclass(frozen=True)
class Imputation:
    """Medians, and indicators of missing values: one for each pattern of absence, named after its first predictor."""

    medians: pd.Series
    indicators: Mapping[str, str]
    detail: str

    def apply(self, x: pd.DataFrame) -> pd.DataFrame:
        """Fill in the medians and append the indicators."""
        absent = {name: x[source].isna().astype(float) for name, source in self.indicators.items()}
        values = x[self.medians.index].to_numpy(float)
        values = np.where(np.isnan(values), self.medians.to_numpy(float), values)
        filled = pd.DataFrame(values, index=x.index, columns=self.medians.index)
        return filled.assign(**absent) if absent else filled


@dataclass(frozen=True)
class Kept:
    """Columns that a filter or selection has kept, in the order that matters to the next step."""

    names: tuple[str, ...]
    detail: str

    def apply(self, x: pd.DataFrame) -> pd.DataFrame:
        """Take the kept columns."""
        return x[list(self.names)]


@dataclass(frozen=True)
class Scale:
    """Mean and population standard deviation."""

    mean: pd.Series
    sd: pd.Series
    detail: str = ""

    def apply(self, x: pd.DataFrame) -> pd.DataFrame:
        """Z-scores."""
        values = (x[self.mean.index].to_numpy(float) - self.mean.to_numpy(float)) / self.sd.to_numpy(float)
        return pd.DataFrame(values, index=x.index, columns=self.mean.index)


@dataclass(frozen=True)
class Preparation:
    """The fitted steps before a learner, cut down to the predictors that it uses."""

    medians: pd.Series
    indicators: Mapping[str, str]
    scale: Scale

    @property
    def names(self) -> list[str]:
        """Columns that the learner sees."""
        return list(self.scale.mean.index)

    @property
    def inputs(self) -> list[str]:
        """Predictors that must be given."""
        plain = [name for name in self.names if name not in self.indicators]
        return list(dict.fromkeys([*plain, *self.indicators.values()]))

    def apply(self, x: pd.DataFrame) -> pd.DataFrame:
        """From predictors to what the learner sees."""
        return self.scale.apply(Imputation(self.medians, self.indicators, "").apply(x)[self.names])

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "medians": self.medians.to_dict(), "indicators": dict(self.indicators),
            "mean": self.scale.mean.to_dict(), "sd": self.scale.sd.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preparation:
        """Read the JSON form."""
        mean, sd, medians = (pd.Series(data[key], dtype=float) for key in ("mean", "sd", "medians"))
        return cls(medians, dict(data["indicators"]), Scale(mean, sd))


def prepare(fold: Fold, select: Mapping[str, Any]) -> tuple[Preparation, Fold]:
    """Fit the steps in order on a fold's rows.

    Parameters
    ----------
    fold : Fold
        Training rows.
    select : mapping
        ``stable, variance, correlation, lasso, max_features`` of the configuration.

    Returns
    -------
    Preparation, Fold
        The fitted steps, and the same rows as the learner sees them (no columns when nothing was selected).
    """
    if "stable" in select:
        fold = fold.through(fold.fit("stable", learn_stable, select["stable"]["icc"]).apply)
    imputation = fold.fit("impute", learn_imputation)
    rows = fold.through(imputation.apply)
    kept = rows.fit("variance", learn_variance, select.get("variance", 0.0))
    rows = rows.through(kept.apply)
    if "correlation" in select:
        kept = rows.fit("correlation", learn_correlation, select["correlation"])
        rows = rows.through(kept.apply)
    scale = rows.fit("standardise", learn_scale)
    rows = rows.through(scale.apply)
    limit = select.get("max_features")
    if select.get("lasso"):
        names = rows.fit("lasso", fit_lasso).selected[:limit]
        rows = rows.through(lambda x: x[names])
    elif limit is not None:
        rows = rows.through(rows.fit("strongest", learn_strongest, limit).apply)
    names = list(rows.x.columns)
    indicators = {name: source for name, source in imputation.indicators.items() if name in names}
    plain = [name for name in names if name not in indicators]
    medians = imputation.medians[list(dict.fromkeys([*plain, *indicators.values()]))]
    return Preparation(medians, indicators, Scale(scale.mean[names], scale.sd[names])), rows


def learn_stable(fold: Fold, limit: float) -> Kept:
    """Features that measure nearly the same inside every other outline: the smallest ICC is at least `limit`.

    The ICC is ICC(2,1), absolute agreement of single measurements, on the scale of the features. Agreement and not
    consistency, ICC(3,1): a frozen model has one mean and one standard deviation for every patient to come, so an
    outline by which a feature is larger in everybody moves the score as surely as one by which it scatters.

    No label is looked at. Rows without a value inside either outline are left out of that pair. A feature whose ICC is
    undefined has not been shown to be stable, and goes; columns that the other tables do not have are not judged.

    Raises
    ------
    FitError
        Fewer than two rows have features inside one of the outlines.
    """
    smallest, told = pd.Series(np.inf, index=fold.x.columns), []
    for roi, other in fold.outlines.items():
        n = int(other.notna().any(axis=1).sum())
        if n < 2:
            raise FitError(
                "no training rows to judge by another outline", where=f"{fold.where}, select.stable, ROI {roi}",
                expected="features of at least 2 rows", found=f"{n} of {len(other)}",
                todo=f"read why in extract's manifest of roi-{roi}, or take it out of select.stable.rois",
            )  # fmt: skip
        pairs = np.stack([fold.x[other.columns].to_numpy(float), other.to_numpy(float)], axis=2)
        reached = np.nan_to_num(mean_squares(pairs).icc("agreement"), nan=-np.inf)
        smallest[other.columns] = np.minimum(smallest[other.columns], reached)
        told.append(f"{roi} ({n} of {len(other)} rows)")
    kept = _kept(fold, list(smallest.index[smallest >= limit]))
    unjudged = int(np.isposinf(smallest).sum())
    beside = f", {unjudged} not judged" if unjudged else ""
    return replace(kept, detail=f"{kept.detail}{beside}: ICC(2,1) at least {limit:g} with {', '.join(told)}")


def learn_imputation(fold: Fold) -> Imputation:
    """Medians of the columns that have any value; indicators where enough rows lack one."""
    absent = fold.x.isna().to_numpy()
    n_absent = absent.sum(axis=0)
    known = fold.x.columns[n_absent < len(fold.x)]
    indicators: dict[str, str] = {}
    patterns: set[bytes] = set()
    for place, name in enumerate(fold.x.columns):
        pattern = absent[:, place].tobytes()
        if MIN_MISSING <= n_absent[place] <= len(fold.x) - MIN_MISSING and pattern not in patterns:
            patterns.add(pattern)
            indicators[f"{name} is missing"] = name
    detail = f"{int((n_absent > 0).sum())} columns with missing values, {len(indicators)} indicators"
    dropped = len(fold.x.columns) - len(known)
    return Imputation(
        pd.Series(np.nanmedian(fold.x[known].to_numpy(float), axis=0), index=known, dtype=float),
        indicators,
        detail + (f", {dropped} columns without any value" if dropped else ""),
    )


def learn_variance(fold: Fold, threshold: float = 0.0) -> Kept:
    """Columns whose standard deviation exceeds `threshold`; constant columns always go."""
    values = fold.x.to_numpy(float)
    sd = values.std(axis=0)
    keep = (sd > threshold) & (sd > CONSTANT * np.abs(values.mean(axis=0)))
    return _kept(fold, list(fold.x.columns[keep]))


def learn_correlation(fold: Fold, threshold: float) -> Kept:
    """Of columns with a larger absolute Spearman correlation keep the one more strongly associated with the label.

    Columns are taken by decreasing association (absolute Spearman correlation with the label, equal ones by name) and
    kept when they correlate with no kept column by more than `threshold`.
    """
    ranks = _standard_ranks(fold.x.to_numpy(float))
    strength = _association(fold)
    order = sorted(range(ranks.shape[1]), key=lambda j: (-strength[j], fold.x.columns[j]))
    rho = np.abs(ranks.T @ ranks) / len(ranks)
    kept: list[int] = []
    for j in order:
        if not kept or rho[j, kept].max() <= threshold:
            kept.append(j)
    return _kept(fold, [fold.x.columns[j] for j in sorted(kept)])


def learn_scale(fold: Fold) -> Scale:
    """Mean and population standard deviation of every column."""
    values, names = fold.x.to_numpy(float), fold.x.columns
    mean, sd = (pd.Series(v, index=names, dtype=float) for v in (values.mean(axis=0), values.std(axis=0)))
    return Scale(mean, sd, f"{len(names)} columns")


def learn_strongest(fold: Fold, limit: int) -> Kept:
    """Keep the `limit` columns with the largest absolute Spearman correlation with the label, the strongest first."""
    strength = _association(fold)
    order = sorted(range(fold.x.shape[1]), key=lambda j: (-strength[j], fold.x.columns[j]))
    return _kept(fold, [fold.x.columns[j] for j in order[:limit]])


def _kept(fold: Fold, names: list[str]) -> Kept:
    return Kept(tuple(names), f"kept {len(names)} of {fold.x.shape[1]}")


def _association(fold: Fold) -> np.ndarray:
    """Absolute Spearman correlation of every column with the label, to 12 digits so that order is not rounding."""
    label = _standard_ranks(fold.y[:, None])
    return np.round(np.abs(_standard_ranks(fold.x.to_numpy(float)).T @ label[:, 0]) / len(label), 12)


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Mid-ranks by column, as z-scores (0 for a constant column)."""
    if values.shape[1] == 0:
        return values
    ranks = pd.DataFrame(values).rank().to_numpy()  # scipy.stats takes half a second of every job to import
    sd = ranks.std(axis=0)
    return (ranks - ranks.mean(axis=0)) / np.where(sd > 0, sd, 1.0)
