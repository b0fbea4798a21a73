"""The split: by subject, balanced, independent of the rows' order, and closed to everything but development."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hccflow.enrol.split import make_split
from hccflow.errors import ConfigError, LeakageError


def subjects_table(n: int, seed: int, sessions: int = 1, name: str = "dev") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    one = pd.DataFrame(
        {
            "cohort": name,
            "subject": [f"{name}{i:03d}" for i in range(n)],
            "site": rng.choice(["A", "B"], n, p=[0.7, 0.3]),
            "role": "development",
            "y": pd.array(rng.choice([0, 1], n), dtype="Int64"),
            "age": rng.uniform(20, 80, n),
        }
    )
    one.loc[one.index[: n // 10], "y"] = pd.NA
    return pd.concat([one.assign(session=f"{s}" if sessions > 1 else "") for s in range(sessions)], ignore_index=True)


Y = {"y": {"kind": "binary", "source": "column", "column": "c"}}
AGE = {"age": {"kind": "number", "available_at": "baseline"}}


def split_settings(seed: int = 1, **split: Any) -> dict[str, Any]:
    return {"seed": seed, "columns": AGE, "endpoints": Y, "split": {"folds": 4, "stratify": ["y", "site"], **split}}


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(30, 90), seed=st.integers(0, 10_000), folds=st.integers(2, 6), repeats=st.integers(1, 3),
    fraction=st.sampled_from([0, 0.2, 0.3]), sessions=st.integers(1, 3), shuffle=st.integers(0, 100),
)  # fmt: skip
def test_split_properties(n, seed, folds, repeats, fraction, sessions, shuffle):
    table = subjects_table(n, seed, sessions)
    options = split_settings(seed, folds=folds, repeats=repeats, test_fraction=fraction, stratify=["y", "site", "age"])
    split = make_split([table], options)
    assert set(split["subject"]) == set(table["subject"])
    assert not split.duplicated(["subject", "repeat"]).any()
    assert len(split) == n * repeats
    assert (split.groupby("subject")["role"].nunique() == 1).all()
    assert split["fold"].isna().equals(split["role"] == "test")
    assert (split[split["repeat"] == 0]["role"] == "test").sum() == round(fraction * n)
    assert split.loc[split["role"] == "train", "fold"].isin(range(folds)).all()
    shuffled = table.sample(frac=1, random_state=shuffle)
    pd.testing.assert_frame_equal(split, make_split([shuffled], options))
    halves = np.array_split(shuffled.index.to_numpy(), 2)
    pd.testing.assert_frame_equal(split, make_split([table.loc[h] for h in halves], options))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(30, 90), seed=st.integers(0, 10_000))
def test_split_is_balanced(n, seed):
    table = subjects_table(n, seed)
    split = make_split([table], split_settings(seed)).merge(table, on="subject")
    split["y"] = split["y"].astype("string").fillna("missing")
    counts = split.groupby(["y", "site", "fold"]).size().unstack(fill_value=0).reindex(columns=range(4), fill_value=0)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    sizes = split.groupby("fold").size()
    assert sizes.max() - sizes.min() <= 2


def test_repeats_differ_and_the_test_set_does_not():
    table = subjects_table(60, 3)
    split = make_split([table], split_settings(repeats=3, test_fraction=0.25))
    folds = split.pivot(index="subject", columns="repeat", values="fold")
    assert not folds[0].equals(folds[1])
    assert (split[split["role"] == "test"].groupby("subject").size() == 3).all()


def test_a_new_subject_leaves_the_test_set_nearly_alone():
    small, large = subjects_table(60, 3), subjects_table(60, 3)
    extra = large.iloc[[0]].assign(subject="zz")
    options = split_settings(test_fraction=0.2)
    sets = [
        set(split.loc[split["role"] == "test", "subject"])
        for split in (make_split([small], options), make_split([pd.concat([large, extra])], options))
    ]
    assert len(sets[0] ^ sets[1]) <= 2


def test_only_development_is_split():
    table = subjects_table(40, 1)
    with pytest.raises(LeakageError, match="only development"):
        make_split([table, subjects_table(20, 2, name="ext").assign(role="external")], split_settings())
    with pytest.raises(LeakageError, match="two development"):
        make_split([table, table.assign(cohort="other")], split_settings())


def test_a_fold_without_a_class_is_refused():
    table = subjects_table(40, 1)
    table["y"] = pd.array([1] + [0] * 39, dtype="Int64")
    with pytest.raises(ConfigError, match=r"no positive training case of endpoint 'y'.*fold \d"):
        make_split([table], split_settings())
    with pytest.raises(ConfigError, match="fewer training subjects"):
        make_split([subjects_table(3, 1)], split_settings())


def test_sites_are_left_out_one_by_one():
    table = subjects_table(60, 4)
    options = split_settings(by="site", folds=2)
    split = make_split([table.sample(frac=1, random_state=1)], options)
    site = split["subject"].map(table.drop_duplicates("subject").set_index("subject")["site"])
    assert split.groupby(site.to_numpy())["fold"].agg(set).to_dict() == {"A": {0}, "B": {1}}
    with pytest.raises(ConfigError, match=r"not as many folds as sites.*2, one for each site.*A, B"):
        make_split([table], split_settings(by="site", folds=3))
    with pytest.raises(ConfigError, match="without site"):
        make_split([table.assign(site=table["site"].mask(table["site"] == "B", ""))], options)
