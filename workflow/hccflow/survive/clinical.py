"""The prespecified clinical model (the covariates, without a score) in plain numbers: formula and nomogram."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.cox import fit_cox
from hccflow.metrics.firth import EVENTS_PER_SIDE
from hccflow.metrics.nomogram import Scale, formula, nomogram
from hccflow.models.encoding import TRANSFORMS
from hccflow.survive.samples import Sample, design, outcome
from hccflow.survive.settings import Settings

Array = np.ndarray[Any, Any]


def clinical_tables(sample: Sample, settings: Settings) -> dict[str, pd.DataFrame] | str:
    """Curves ``formula`` and ``nomogram`` of a sample, or the reason why there is no such model.

    Competing events censor: the risk is cause-specific, no incidence.
    """
    X, terms = design(sample.frame, settings)
    complete = X.notna().all(axis=1)
    frame, X = sample.frame[complete], X[complete]
    time, event, entry = outcome(frame)
    if X.shape[1] == 0:
        return "no covariates"
    if entry is not None:
        return "not defined here with delayed entry"
    if event.sum() < X.shape[1]:
        return f"{int(event.sum())} events for {X.shape[1]} coefficients"
    fit = fit_cox(X.to_numpy(), time, event, list(X.columns), ties=settings.ties)
    if fit.reasons:
        return "; ".join(f"{name}: {reason}" for name, reason in fit.reasons.items())
    # With events at one time only the coefficients are zero but for rounding.
    if np.all(np.abs(fit.coef) * X.to_numpy(float).std(axis=0) < 1e-8):
        return "every coefficient is zero"
    # Beyond the last event the baseline is unknown.
    times = [t for t in settings.times if 0 < t <= time[event].max()]
    where = {key: value for key, value in sample.where.items() if key != "model"}
    scales = {term: _scale(frame, term, columns, settings) for term, columns in terms.items()}
    tables = {
        "formula": formula(fit, X.to_numpy(), times),
        "nomogram": _noted(nomogram(fit, X.to_numpy(), scales, times), frame.assign(event=event), terms),
    }
    return {name: table.assign(**where) for name, table in tables.items()}


def _noted(table: pd.DataFrame, frame: pd.DataFrame, terms: dict[str, list[str]]) -> pd.DataFrame:
    """Say beside a level that its points rest on few events."""
    notes = pd.Series("", index=table.index)
    for term, columns in terms.items():
        if columns != [term]:
            events = frame["event"].groupby(frame[term].astype(str)).sum()
            few = (table["name"] == term) & (table["label"].map(events) < EVENTS_PER_SIDE)
            notes[few] = f"fewer than {EVENTS_PER_SIDE} events"
    return table.assign(note=notes)


def _scale(frame: pd.DataFrame, term: str, columns: list[str], settings: Settings) -> Scale:
    """Labels of a covariate: its levels, its few values, or round numbers between the 5th and the 95th percentile."""
    if columns != [term]:
        levels = [column.removeprefix(f"{term}=") for column in columns]
        reference = next(iter(sorted(set(frame[term].astype(str)) - set(levels))), "other")
        return {reference: {}, **{level: {column: 1.0} for level, column in zip(levels, columns, strict=True)}}
    name = {f"{column} ({kind})": column for column, kind in settings.transforms.items()}.get(term, term)
    source, kind = frame[name].to_numpy(float), settings.transforms.get(name)
    values = np.unique(source)
    if values.size > 6:
        low, high = (float(v) for v in np.quantile(source, [0.05, 0.95]))
        values = _decades(low, high) if kind in ("log", "log1p") and low > 0 else _steps(low, high)
    change = TRANSFORMS[kind] if kind else np.asarray
    return {f"{v:.6g}": {term: float(change(v))} for v in values}


def _steps(low: float, high: float) -> Array:
    """Round numbers between two limits: about five, 1, 2 or 5 times a power of ten apart."""
    if high <= low:
        return np.array([low])
    width = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(width))
    step = power * max(k for k in (1, 2, 5) if k * power <= width * (1 + 1e-12))
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _decades(low: float, high: float) -> Array:
    """Powers of ten between two limits, with the limits rounded to one digit at the ends."""
    powers = 10.0 ** np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
    ends = [float(f"{v:.0e}") for v in (low, high)]
    return np.unique([ends[0], *powers[(powers > 1.5 * low) & (powers < high / 1.5)], ends[1]])
