"""The exchange test: its shortcut is the real exchange, and it keeps its level where folds hold a few events."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from hccflow.metrics import exchange
from hccflow.metrics.auc import stratified_difference
from hccflow.metrics.concordance import Concordance, concordance_difference_within
from hccflow.metrics.estimate import Estimate
from hccflow.metrics.exchange import STRATUM, exchanged


def draw(rng: np.random.Generator, folds: int, events: int, n: int, repeats: int = 1) -> pd.DataFrame:
    """Two scores without a difference between them: one signal, two noises."""
    parts = []
    for repeat in range(repeats):
        y = np.tile(np.r_[np.ones(events), np.zeros(n - events)], folds)
        seen = y + rng.normal(size=len(y))
        scores = {name: (seen + rng.normal(size=len(y))).round(1) for name in ("score", "other")}
        names = [f"S{i}" for i in range(len(y))]
        places = {"subject": names, "repeat": repeat, "fold": np.repeat(np.arange(folds), n), "y": y}
        parts.append(pd.DataFrame({**places, **scores}))
    return pd.concat(parts, ignore_index=True)


def gap(table: pd.DataFrame) -> float:
    """Difference of the shares of correctly ordered pairs of one fold, by hand."""
    values = []
    for _, repeat in table.groupby("repeat"):
        won = total = 0.0
        for _, fold in repeat.groupby("fold"):
            rows = fold.to_dict("records")
            for one, two in product(rows, rows):
                if "y" in fold:
                    counts = one["y"] == 1 and two["y"] == 0
                else:
                    tied = one["time_days"] == two["time_days"] and two["event"] != 1
                    counts = one["event"] == 1 and (one["time_days"] < two["time_days"] or tied)
                if counts:
                    total += 1
                    for name, sign in (("score", 1), ("other", -1)):
                        won += sign * (np.sign(one[name] - two[name]) + 1) / 2
        values.append(won / total)
    return float(np.mean(values))


@pytest.mark.parametrize("survival", [False, True])
def test_the_shortcut_is_the_exchange_itself(monkeypatch: pytest.MonkeyPatch, survival: bool) -> None:
    rng = np.random.default_rng(3)
    table = draw(rng, folds=2, events=2, n=5, repeats=2)
    if survival:
        days = {name: int(day) for name, day in zip(sorted(set(table["subject"])), rng.integers(1, 6, 10), strict=True)}
        table = table.assign(time_days=table["subject"].map(days), event=table["y"]).drop(columns="y")
    names = sorted(set(table["subject"]))
    every = [dict(zip(names, signs, strict=True)) for signs in product((1, -1), repeat=len(names))][::5]
    ranked = table.assign(**{name: table.groupby(STRATUM)[name].rank() for name in ("score", "other")})
    real, count = abs(gap(ranked)), 0
    for signs in every:
        swap = ranked["subject"].map(signs) == -1
        one, other = ranked["score"], ranked["other"]
        mixed = ranked.assign(score=one.where(~swap, other), other=other.where(~swap, one))
        count += abs(gap(mixed)) >= real - 1e-12

    class Signs:
        def integers(self, low: int, high: int, size: tuple[int, int]) -> np.ndarray:
            assert (low, high, size) == (0, 2, (len(every), len(names)))
            return np.array([[(signs[name] + 1) // 2 for name in names] for signs in every])

    monkeypatch.setattr(exchange, "DRAWS", len(every))
    monkeypatch.setattr(exchange.np.random, "default_rng", lambda seed: Signs())
    found = exchanged(Estimate(gap(table), 0.0, 1.0, "interval", 0.5), table)
    assert found.p == (count + 1) / (len(every) + 1) and count > 1
    assert (found.ci_low, found.ci_method) == (0.0, f"interval; p by {len(every)} exchanges")


def test_the_level_is_kept_where_folds_hold_two_events() -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(300):
        table = draw(rng, folds=4, events=2, n=8)
        normal = stratified_difference(table["y"], table["score"], table["other"], table["fold"])
        if normal.p is not None:
            found.append(exchanged(normal, table).p)
    assert len(found) > 290
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(found))


def test_nothing_to_test_stays_so_and_the_same_data_give_the_same_p() -> None:
    table = draw(np.random.default_rng(0), folds=2, events=4, n=10)
    none = Estimate(0.0, reason="no interval: the estimated variance is zero")
    assert exchanged(none, table) is none
    found = stratified_difference(table["y"], table["score"], table["other"], table["fold"])
    shuffled = table.sample(frac=1, random_state=1).reset_index(drop=True)
    turned = table.rename(columns={"score": "other", "other": "score"})
    assert exchanged(found, table).p == exchanged(found, shuffled).p == exchanged(found, turned).p


def test_concordance_of_survival_times_is_what_the_exchange_starts_from() -> None:
    rng = np.random.default_rng(5)
    table = draw(rng, folds=3, events=5, n=12).assign(time_days=rng.integers(1, 30, 36)).rename(columns={"y": "event"})
    strata = [
        [Concordance(f["time_days"], f["event"] == 1, f[name]) for _, f in table.groupby("fold")]
        for name in ("score", "other")
    ]
    found = concordance_difference_within([strata[0]], [strata[1]])
    assert found.value == pytest.approx(gap(table))
    assert 0 < exchanged(found, table).p <= 1
