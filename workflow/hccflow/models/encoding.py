"""From tables to numbers, by rules that the configuration fixes: nothing here is estimated from data."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, TableError

KEYS = ["cohort", "subject", "session"]
TRANSFORMS = {"log": np.log, "log1p": np.log1p, "sqrt": np.sqrt}
#: Values from which each transform is defined; log is not at 0 itself.
LOWEST = {"log": 0.0, "log1p": -1.0, "sqrt": 0.0}


@dataclass(frozen=True)
class Encoding:
    """Which columns and features become which predictors.

    Parameters
    ----------
    clinical : tuple of dict
        ``name, kind, levels, transform`` of each clinical column.
    features : tuple of str
        Names of imaging features.
    """

    clinical: tuple[Mapping[str, Any], ...]
    features: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the predictors: ``age``, ``afp_ng_ml (log1p)``, ``bclc = B`` (the first level is the reference)."""
        return [name for column in self.clinical for name in _predictors(column)] + list(self.features)

    def encode(self, subjects: pd.DataFrame, features: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.Series]:
        """Predictors of the rows of `subjects`, in their order.

        Parameters
        ----------
        subjects : pandas.DataFrame
            ``cohort, subject, session`` and the clinical columns, typed.
        features : pandas.DataFrame or None
            ``cohort, subject, session`` and the features; joined by these keys.

        Returns
        -------
        x : pandas.DataFrame of float64
            NaN where a value is missing.
        scorable : pandas.Series of bool
            False for a row that has no features at all.

        Raises
        ------
        TableError
            A column or feature is missing, or a value lies outside the domain of its transform or its levels.
        """
        parts = [_encode_column(subjects, column) for column in self.clinical]
        scorable = pd.Series(True, index=subjects.index)
        if self.features:
            values, scorable = _join(subjects, features, self.features)
            parts.append(values)
        return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=subjects.index), scorable

    def elsewhere(self, subjects: pd.DataFrame, features: pd.DataFrame | None, where: str) -> pd.DataFrame:
        """Those of the features that the table of another region has too, for the rows of `subjects`, in their order.

        Raises
        ------
        TableError
            The table is missing, or has no feature of the same name.
        """
        if features is None:
            raise TableError("the model needs features of another outline", where=where, todo="give --outlines of it")
        shared = [name for name in self.features if name in features.columns]
        if not shared:
            raise TableError(
                "another outline shares no feature with the model's region", where=where,
                expected=self.features[:3], found=[name for name in features.columns if name not in KEYS][:3],
                todo="extract both with the same settings",
            )  # fmt: skip
        return _join(subjects, features, shared)[0]

    def needed_for(self, predictors: Sequence[str]) -> Encoding:
        """Part of the encoding that makes these predictors."""
        wanted = set(predictors)
        clinical = tuple(c for c in self.clinical if wanted & set(_predictors(c)))
        return Encoding(clinical, tuple(name for name in self.features if name in wanted))

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"clinical": [dict(column) for column in self.clinical], "features": list(self.features)}


def make_encoding(
    spec: Mapping[str, Any], columns: Mapping[str, Any], features: pd.DataFrame | None, *, where: str
) -> Encoding:
    """Encoding of a model from its entry in the configuration and the names of the features that there are."""
    clinical = tuple(
        {
            "name": name, "kind": columns[name]["kind"], "levels": list(columns[name].get("levels", ())),
            "transform": spec.get("transforms", {}).get(name, ""),
        }
        for name in spec.get("columns", ())
    )  # fmt: skip
    for name in spec.get("transforms", {}):
        if name not in spec.get("columns", ()) or columns[name]["kind"] != "number":
            raise ConfigError("a transform needs a numeric predictor", where=f"{where}.transforms", found=name)
    chosen: tuple[str, ...] = ()
    if "roi" in spec:
        if features is None:
            raise TableError("the model needs features", where=where, todo=f"give --features of ROI {spec['roi']}")
        names = sorted(name for name in features.columns if name not in KEYS)
        patterns = spec.get("features", ["*"])
        chosen = tuple(name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns))
        if not chosen:
            raise ConfigError("no feature matches", where=f"{where}.features", expected=patterns, found=names[:3])
    encoding = Encoding(clinical, chosen)
    if len(set(encoding.names)) < len(encoding.names):
        raise TableError("a feature has the name of a clinical predictor", where=where, todo="rename the feature")
    return encoding


def _predictors(column: Mapping[str, Any]) -> list[str]:
    if column["kind"] == "category":
        return [f"{column['name']} = {level}" for level in column["levels"][1:]]
    return [f"{column['name']} ({column['transform']})" if column["transform"] else column["name"]]


def _encode_column(subjects: pd.DataFrame, column: Mapping[str, Any]) -> pd.DataFrame:
    name = column["name"]
    if name not in subjects:
        raise TableError(f"predictor '{name}' is missing", where="subjects.tsv", found=", ".join(subjects.columns))
    cells = subjects[name]
    if column["kind"] == "category":
        text = cells.astype("string").fillna("").astype(object)
        foreign = ~text.isin(["", *column["levels"]])
        if foreign.any():
            raise TableError(
                f"'{name}' has a level that the model does not know",
                where=f"subject {subjects.loc[foreign, 'subject'].iloc[0]}",
                expected=", ".join(column["levels"]), found=text[foreign].iloc[0],
            )  # fmt: skip
        dummies = {
            f"{name} = {level}": (text == level).astype(float).where(text != "") for level in column["levels"][1:]
        }
        return pd.DataFrame(dummies, index=subjects.index)
    values = cells.astype("float64")
    if column["transform"]:
        values = transformed(values, column["transform"], subjects["subject"])
    return values.rename(_predictors(column)[0]).to_frame()


def transformed(values: pd.Series, kind: str, subjects: pd.Series) -> pd.Series:
    """Values of a numeric column after ``log``, ``log1p`` or ``sqrt``; missing stays missing.

    Raises
    ------
    TableError
        A value lies outside the domain of the transform; names the subject.
    """
    bad = (values < LOWEST[kind]) | ((values == LOWEST[kind]) & (kind != "sqrt"))
    if bad.any():
        raise TableError(
            f"{kind} of '{values.name}' is not defined", where=f"subject {subjects[bad].iloc[0]}",
            found=values[bad].iloc[0],
        )  # fmt: skip
    return TRANSFORMS[kind](values)


def _join(
    subjects: pd.DataFrame, features: pd.DataFrame | None, names: Sequence[str]
) -> tuple[pd.DataFrame, pd.Series]:
    if features is None:
        raise TableError("the model needs features", where="--features", expected=f"{len(names)} features")
    missing = [name for name in names if name not in features.columns]
    if missing:
        raise TableError(
            f"feature '{missing[0]}' is missing" + (f" (and {len(missing) - 1} more)" if missing[1:] else ""),
            where="features.tsv", expected=f"the {len(names)} features that the model uses",
            found=f"{len(features.columns) - len(KEYS)} features",
            todo="extract this cohort with the same settings and channels as the development cohorts",
        )  # fmt: skip
    if features.duplicated(KEYS).any():
        raise TableError(
            "a case stands twice",
            where="features.tsv",
            found=features.loc[features.duplicated(KEYS), "subject"].iloc[0],
        )
    values = features.set_index(KEYS)[list(names)].reindex(pd.MultiIndex.from_frame(subjects[KEYS]))
    values = values.apply(pd.to_numeric).astype("float64").set_axis(subjects.index)
    return values, values.notna().any(axis=1)
