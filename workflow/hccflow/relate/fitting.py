"""What relate learns, it learns here, from development training rows only: components, scales, lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from hccflow.errors import FitError
from hccflow.models.fold import FITS, refuse_other_roles
from hccflow.relate.histology import Line, fit_line, pairs
from hccflow.relate.signatures import (
    CASE,
    Components,
    fit_components,
    matching_features,
    signature_table,
)
from hccflow.tables import subjects_digest


@dataclass(frozen=True)
class Frozen:
    """What development taught.

    Attributes
    ----------
    components : dict
        Signature of the configuration -> its components.
    scale : dict
        Signature -> mean and standard deviation (n - 1) of the training cases.
    lines : dict
        ``target|signature`` -> line of the target on the standardised signature.
    """

    components: dict[str, Components]
    scale: dict[str, tuple[float, float]]
    lines: dict[str, Line]

    def standardised(self, signatures: pd.DataFrame) -> pd.DataFrame:
        """Signatures in units of development; NaN throughout where development had no variation, or the cohort none."""
        mean = pd.Series({name: values[0] for name, values in self.scale.items()})
        sd = pd.Series({name: values[1] for name, values in self.scale.items()})
        return (signatures.reindex(columns=mean.index) - mean) / sd.where(sd > 0)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "components": {name: asdict(one) for name, one in self.components.items()},
            "scale": {name: list(values) for name, values in self.scale.items()},
            "lines": {name: asdict(line) for name, line in self.lines.items()},
        }


def frozen_from(document: Mapping[str, Any]) -> Frozen:
    """Inverse of `Frozen.document`."""
    return Frozen(
        {name: Components(**one) for name, one in document["components"].items()},
        {name: (float(mean), float(sd)) for name, (mean, sd) in document["scale"].items()},
        {name: Line(**line) for name, line in document["lines"].items()},
    )


def training_cases(subjects: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Cases of development subjects that may teach.

    Raises
    ------
    LeakageError
        A case of another role than development.
    """
    refuse_other_roles(subjects)
    taught = split.loc[split["role"] == "train", ["cohort", "subject"]].drop_duplicates()
    return subjects.merge(taught, on=["cohort", "subject"])


def learn(
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    scores: Mapping[str, pd.DataFrame],
    features: Mapping[str, pd.DataFrame],
    histology: pd.DataFrame | None,
) -> tuple[Frozen, pd.DataFrame]:
    """Fit components, scales and lines.

    Parameters
    ----------
    settings : mapping
        Section ``relate``.
    subjects, split : pandas.DataFrame
        Development cohorts only.
    scores : mapping
        Model -> unseen scores of these cohorts.
    features : mapping
        Signature -> feature table of these cohorts.
    histology : pandas.DataFrame, optional
        Targets, index ``subject, session``.

    Returns
    -------
    Frozen, pandas.DataFrame
        What was learnt, and the table of fits: ``step, repeat, fold, n, subjects_digest, detail``.

    Raises
    ------
    LeakageError, FitError
        A judging cohort; a signature that too few training cases have.
    """
    rows = training_cases(subjects, split)
    cases = pd.MultiIndex.from_frame(rows[CASE])
    keys = pd.Series((rows["cohort"] + "/" + rows["subject"]).to_numpy(), index=cases)
    fits: list[dict[str, Any]] = []

    def record(step: str, seen: pd.Index, detail: str) -> None:
        who = keys[cases.get_level_values("subject").isin(seen.unique())]
        fits.append({"step": step, "n": len(seen), "subjects_digest": subjects_digest(list(who)), "detail": detail})

    components: dict[str, Components] = {}
    for name, spec in settings["signatures"].items():
        if "components" in spec:
            table = matching_features(features[name], spec["features"], f"signature {name}", apparent=True)
            table = table[table.index.isin(cases)].dropna(how="all")
            components[name] = fit_components(table, spec["components"], f"signature {name}")
            record(f"components {name}", table.index.get_level_values("subject"), components[name].detail)
    signatures = signature_table(settings["signatures"], scores, features, components, cases, apparent=True)
    scale: dict[str, tuple[float, float]] = {}
    for name in signatures:
        known = signatures[name].dropna()
        if len(known) < 2:
            raise FitError("no scale for a signature", where=f"signature {name}",
                           expected="at least 2 training cases that have it", found=len(known))  # fmt: skip
        sd = float(known.std()) if known.min() < known.max() else 0.0
        scale[str(name)] = (float(known.mean()), sd)
        record(f"scale {name}", known.index.get_level_values("subject"), f"mean {known.mean():.6g}, sd {sd:.6g}")
    frozen = Frozen(components, scale, {})
    if histology is not None:
        unseen = signature_table(settings["signatures"], scores, features, components, cases)
        standard = frozen.standardised(unseen)
        for target in histology:
            for name in standard:
                both = pairs(standard[name], histology[target])
                line = fit_line(both)
                if line is not None:
                    frozen.lines[f"{target}|{name}"] = line
                    detail = f"intercept {line.intercept:.6g}, slope {line.slope:.6g}"
                    record(f"line {target} {name}", both.index.get_level_values("subject"), detail)
    table = pd.DataFrame(fits, columns=FITS).astype({"repeat": "Int64", "fold": "Int64", "n": "Int64"})
    return frozen, table
