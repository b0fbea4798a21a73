"""Imaging signatures: unseen scores of a model, features, or components whose loadings development froze."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import FitError, LeakageError, TableError
from hccflow.ids import ScoreKind

CASE = ["subject", "session"]


def unseen_scores(predictions: pd.DataFrame, endpoint: str | None = None) -> pd.Series:
    """Score of each case (index ``subject, session``): probability, or risk where there is none; repeats averaged.

    `endpoint` says which, of a model with scores for several.

    Raises
    ------
    LeakageError
        A score is ``apparent``: of a subject that the model was fitted on.
    """
    apparent = predictions["kind"] == ScoreKind.APPARENT.value
    if apparent.any():
        row = predictions[apparent].iloc[0]
        raise LeakageError(
            f"{int(apparent.sum())} rows are apparent: scores of subjects that the model was fitted on",
            where=f"model {row['model']}, cohort {row['cohort']}, subject {row['subject']}",
            expected="kind oof or frozen",
            todo="give out-of-fold scores of training subjects, frozen scores of all others",
        )
    table = predictions.assign(session=predictions["session"].fillna(""))
    if endpoint is not None:
        table = table[table["endpoint"] == endpoint]
    score = table["y_prob"] if table["y_prob"].notna().any() else table["risk"]
    return score.astype(float).groupby([table["subject"], table["session"]]).mean()


def matching_features(table: pd.DataFrame, patterns: list[str], where: str, *, apparent: bool = False) -> pd.DataFrame:
    """Feature columns that a shell pattern names, in the table's order; index ``subject, session``.

    Rows of kind ``apparent``, of cases that taught the network whose features they are, are left out unless `apparent`:
    they may teach components and scales, and are nobody's signature. A table without rows, of a cohort without images,
    has no columns either.

    Raises
    ------
    TableError
        No column matches, or a case stands twice.
    """
    own = ("cohort", "kind", *CASE)
    names = [n for n in table.columns if n not in own and any(fnmatchcase(n, p) for p in patterns)]
    if not names and len(table):
        raise TableError("no feature matches", where=where, expected=", ".join(patterns))
    if table.duplicated([c for c in ("cohort", *CASE) if c in table]).any():
        raise TableError("a case stands twice", where=where, expected="one row per subject and session")
    if "kind" in table and not apparent:
        table = table[table["kind"] != ScoreKind.APPARENT.value]
    indexed = table.assign(session=table["session"].fillna("") if "session" in table else "").set_index(CASE)
    return indexed[names].astype(float)


@dataclass(frozen=True)
class Components:
    """Frozen principal components: standardise as development did, then project.

    Attributes
    ----------
    features : list of str
        Features with variation in development.
    mean, sd : list of float
        Of development training cases (sd with n - 1); a missing value takes the mean.
    loadings : list of list of float, shape (components, features)
        Unit vectors; of each, the loading of largest size is positive.
    explained : list of float
        Share of the variance of the standardised features.
    """

    features: list[str]
    mean: list[float]
    sd: list[float]
    loadings: list[list[float]]
    explained: list[float]

    def project(self, table: pd.DataFrame) -> np.ndarray:
        """Components of cases, shape (n, components); NaN for a case without any of the features."""
        absent = [name for name in self.features if name not in table.columns]
        if absent:
            raise TableError(f"feature '{absent[0]}' of the frozen components is missing", where="features")
        values = table[self.features].to_numpy(float)
        z = (values - np.array(self.mean)) / np.array(self.sd)
        out = np.where(np.isnan(z), 0.0, z) @ np.array(self.loadings).T
        out[np.isnan(values).all(axis=1)] = np.nan
        return out

    @property
    def detail(self) -> str:
        """What the fit gave, for the table of fits."""
        shares = ", ".join(f"{100 * share:.1f}%" for share in self.explained)
        return f"{len(self.features)} features; variance explained: {shares}"


def fit_components(table: pd.DataFrame, count: int, where: str) -> Components:
    """Principal components of the standardised features of development training cases.

    Raises
    ------
    FitError
        Fewer cases or varying features than components.
    """
    known = table[table.notna().any(axis=1)]
    mean, sd = known.mean(), known.std()
    names = [n for n in known.columns if sd[n] > 1e-12 * max(1.0, abs(mean[n]))]
    if min(len(known) - 1, len(names)) < count:
        raise FitError(
            f"{count} components cannot be made", where=where, expected=f"more than {count} cases, {count} features",
            found=f"{len(known)} cases, {len(names)} features with variation",
        )  # fmt: skip
    z = ((known[names] - mean[names]) / sd[names]).fillna(0.0).to_numpy()
    _, s, vt = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    loadings = vt[:count]
    largest = np.abs(loadings).argmax(axis=1)
    loadings = loadings * np.sign(loadings[np.arange(count), largest])[:, None]
    explained = s[:count] ** 2 / (s**2).sum()
    return Components(names, mean[names].tolist(), sd[names].tolist(), loadings.tolist(), explained.tolist())


def names_of(name: str, spec: Mapping[str, Any], features: pd.DataFrame | None) -> list[str]:
    """Columns that one signature of the configuration becomes: itself, components, or ``name:feature``."""
    if "model" in spec:
        return [name]
    if "components" in spec:
        return [f"{name}_pc{i + 1}" for i in range(spec["components"])]
    assert features is not None
    return [f"{name}:{feature}" for feature in features.columns]


def signature_table(
    signatures: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, pd.DataFrame],
    features: Mapping[str, pd.DataFrame],
    frozen: Mapping[str, Components],
    cases: pd.MultiIndex,
    *,
    apparent: bool = False,
) -> pd.DataFrame:
    """Signatures of the enrolled cases.

    Parameters
    ----------
    signatures : mapping
        Section ``relate.signatures``.
    scores : mapping
        Model -> predictions.
    features : mapping
        Signature -> its feature table (columns ``subject, session`` and features).
    frozen : mapping
        Signature -> components, for those that have them.
    cases : pandas.MultiIndex
        ``subject, session`` of the enrolled cases.
    apparent : bool
        Also for cases that taught a network whose deep features are asked for: to learn a scale from them.

    Returns
    -------
    pandas.DataFrame
        Index `cases`; a case without a value is NaN.
    """
    parts = []
    for name, spec in signatures.items():
        if "model" in spec:
            part = unseen_scores(scores[spec["model"]], spec.get("endpoint")).to_frame(name)
        else:
            table = matching_features(features[name], spec["features"], f"signature {name}", apparent=apparent)
            columns = names_of(name, spec, table)
            if table.empty:
                part = pd.DataFrame(np.nan, index=cases, columns=columns)
            else:
                values = frozen[name].project(table) if "components" in spec else table.to_numpy()
                part = pd.DataFrame(values, index=table.index, columns=columns)
        parts.append(part.reindex(cases))
    return pd.concat(parts, axis=1)
