"""Variants beside their bases: the same folds, one table, everything counted; a choice is made inside the folds."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from lifelines.utils import concordance_index

import report_tree
from hccflow.cli import main
from hccflow.errors import FitError, FreezeError, LeakageError
from hccflow.freeze import freeze, other_code, split_digest
from hccflow.ids import CohortRole
from hccflow.ledger import VARIANT, read_variants, record_variant
from hccflow.metrics.auc import auc, paired_auc, stratified_difference
from hccflow.metrics.concordance import Concordance
from hccflow.metrics.exchange import exchanged
from hccflow.models.fold import Fold
from hccflow.predict import contribution_table, open_frozen, predict
from hccflow.report.page import Callout, Table
from hccflow.report.results import Results
from hccflow.report.sections import experiment
from hccflow.scores import score_table
from hccflow.tables import read_table, write_table
from hccflow.train.choosing import learn_choice, train_choice
from hccflow.train.training import train, write_training
from hccflow.validate import Options
from hccflow.validate.experiment import compare, tried
from smallstudy import SmallStudy, configuration
from tabular_study import CLINICAL, cohort, settings, split

BASE = {**CLINICAL, "learner": "ridge"}
#: One variant that loses the signal, one that is the base but for a tuning parameter.
ENTRIES = {
    "base": BASE,
    "base__columns_afp": {**BASE, "columns": ["afp"], "transforms": {}},
    "base__learner_logistic": {**BASE, "learner": "logistic"},
}


HEADS = {"response": {"survival": False}}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Base and two variants, trained on one split with two repeats."""
    folder = tmp_path_factory.mktemp("train")
    subjects, _ = cohort("dev", 160, 3, signal=0.0)
    subjects["response"] = subjects["response"].astype(float)
    parts = split(subjects, repeats=2)
    for name in ENTRIES:
        write_training(train(name, settings(**ENTRIES), subjects, parts), folder / name)
    return {"folder": folder, "subjects": subjects, "split": parts}


def declared(*names: str) -> list[dict[str, str]]:
    """Declared variants as the rule gives them."""
    return [
        {"sweep": "s", "base": "base", "variant": n, "label": n, "changes": "{}", "digest": f"d-{n}"} for n in names
    ]


def judged(study: dict[str, Any], ledger: pd.DataFrame | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table of the comparison, and of the variants."""
    empty = pd.DataFrame(columns=VARIANT)
    variants = tried(declared(*list(ENTRIES)[1:]), empty if ledger is None else ledger)
    scores = {name: read_table(study["folder"] / name / "predictions.tsv", "predictions") for name in ENTRIES}
    frozen = {name: open_frozen(study["folder"] / name).facts for name in ENTRIES}
    return compare(scores, frozen, variants, Options(draws=200)), variants


def one(table: pd.DataFrame, metric: str, model: str) -> pd.Series:
    """The one row of a metric of a model."""
    rows = table[(table["metric"] == metric) & (table["model"] == model)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_variant_is_compared_with_its_base_on_the_same_out_of_fold_rows(study: dict[str, Any]) -> None:
    table, _ = judged(study)
    means = {
        name: read_table(study["folder"] / name / "predictions.tsv").groupby("subject")[["y_true", "y_prob"]].mean()
        for name in ENTRIES
    }
    y = means["base"]["y_true"].to_numpy()
    every = {
        name: read_table(study["folder"] / name / "predictions.tsv").sort_values(["repeat", "subject"])
        for name in ENTRIES
    }
    base = every["base"]
    places = (base["fold"], base["repeat"])
    for name in list(ENTRIES)[1:]:
        expected = paired_auc(y, means[name]["y_prob"], means["base"]["y_prob"]).difference
        row = one(table, "auc_difference", name)
        assert (row["value"], row["p"], row["n"]) == (expected.value, expected.p, 160)
        own = every[name]["y_prob"].to_numpy()
        within = stratified_difference(base["y_true"], own, base["y_prob"], places[0], repeats=places[1])
        row = one(table, "auc_difference_within_folds", name)
        given = base.rename(columns={"y_true": "y", "y_prob": "other"}).assign(score=own)
        within = exchanged(within, given.reset_index(drop=True))
        assert (row["value"], row["p"], row["n"]) == pytest.approx((within.value, within.p, 160))
        assert row["comparator"] == "base" and row["cohort"] == "dev" and row["group"] == "s"
    assert one(table, "auc", "base")["value"] == auc(y, means["base"]["y_prob"]).value
    worse = one(table, "brier_difference", "base__columns_afp")
    squares = (means["base__columns_afp"]["y_prob"] - y) ** 2 - (means["base"]["y_prob"] - y) ** 2
    assert worse["value"] == pytest.approx(squares.mean())
    assert 0 < worse["value"] < worse["ci_high"] and worse["ci_low"] < worse["value"]


def test_holm_counts_every_variant_ever_tried(study: dict[str, Any]) -> None:
    table, _ = judged(study)
    assert not (table["metric"] == "auc_difference_holm").any(), "one test of a variant, the one within folds"
    p = one(table, "auc_difference_within_folds", "base__columns_afp")["p"]
    assert one(table, "auc_difference_within_folds_holm", "base__columns_afp")["p"] == pytest.approx(min(1, 2 * p))
    ledger = pd.DataFrame(
        [{**{k: v for k, v in row.items() if k != "label"}} for row in declared("base__gone", "base__columns_afp")]
    )[VARIANT]
    table, variants = judged(study, ledger)
    assert variants[["variant", "declared"]].to_numpy().tolist() == [
        ["base__columns_afp", 1], ["base__learner_logistic", 1], ["base__gone", 0],
    ]  # fmt: skip
    row = one(table, "auc_difference_within_folds_holm", "base__columns_afp")
    assert row["p"] == pytest.approx(min(1, 3 * p))
    assert row["ci_method"] == "Holm, 3 tests of 3 variants ever tried"


def test_a_variant_of_another_split_is_not_compared(study: dict[str, Any], tmp_path: Path) -> None:
    scores = {name: read_table(study["folder"] / name / "predictions.tsv", "predictions") for name in ENTRIES}
    frozen = {name: dict(open_frozen(study["folder"] / name).facts) for name in ENTRIES}
    frozen["base__columns_afp"]["split_digest"] = "another"
    variants = tried(declared("base__columns_afp"), pd.DataFrame(columns=VARIANT))
    with pytest.raises(LeakageError, match="variant and base differ in their split"):
        compare(scores, frozen, variants, Options(draws=0))
    with pytest.raises(LeakageError, match="compared on out-of-fold scores"):
        compare(
            {name: table.assign(kind="frozen") for name, table in scores.items()},
            {name: {"split_digest": "", "endpoint": "", "heads": HEADS} for name in scores}, variants, Options(draws=0),
        )  # fmt: skip


def test_survival_endpoints_of_networks_are_compared_by_concordance() -> None:
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"cohort": "dev", "subject": [f"S{i}" for i in range(80)], "session": "", "study": "toy"})
    time, event = rng.exponential(300, 80).round() + 1, rng.integers(0, 3, 80)
    own = {"endpoint": "os", "time_days": time, "event": event, "kind": "oof"}
    risks = {"net": -time + rng.normal(0, 20, 80), "net__small": rng.normal(size=80)}
    scores = {}
    for name, risk in risks.items():
        rows = people.assign(model=name, repeat=0, fold=np.arange(80) % 2)
        answer = rows.assign(endpoint="response", kind="oof", y_true=event % 2, y_prob=rng.random(80))
        scores[name] = pd.concat([rows.assign(risk=risk, **own), *([answer] if name == "net" else [])])
    heads = {"net": {"os": {"survival": True}, **HEADS}, "net__small": {"os": {"survival": True}}}
    frozen = {name: {"split_digest": "s", "endpoint": "os", "heads": heads[name]} for name in risks}
    variants = tried([{**declared("net__small")[0], "base": "net"}], pd.DataFrame(columns=VARIANT))
    table = compare(scores, frozen, variants, Options(draws=0))
    row = one(table, "c_difference", "net__small")
    c = {name: concordance_index(time, -risk, event == 1) for name, risk in risks.items()}
    assert row["value"] == pytest.approx(c["net__small"] - c["net"])
    assert row["ci_high"] < 0
    within = one(table, "c_difference_within_folds", "net__small")
    parts = {n: [Concordance(time[k::2], event[k::2] == 1, r[k::2]) for k in (0, 1)] for n, r in risks.items()}
    share = {n: sum(one.value * one.pairs for one in two) / sum(one.pairs for one in two) for n, two in parts.items()}
    assert within["value"] == pytest.approx(share["net__small"] - share["net"])
    assert within["ci_high"] < 0 and one(table, "c_difference_within_folds_holm", "net__small")["p"] == within["p"]
    assert one(table, "c_harrell_within_folds", "net")["value"] == pytest.approx(share["net"])
    assert one(table, "c_harrell", "net")["value"] == pytest.approx(c["net"])
    assert one(table, "auc", "net")["n"] == 80, "the base's second endpoint is shown, and compared with nothing"
    assert not len(table[table["metric"] == "auc_difference"])
    twice = {name: pd.concat([one.assign(session=s) for s in ("w0", "w1")]) for name, one in scores.items()}
    again = compare(twice, frozen, variants, Options(draws=0))
    columns = ["value", "ci_low", "ci_high", "n", "n_events", "p"]
    of_survival = table["metric"].str.startswith("c_")
    pd.testing.assert_frame_equal(again.loc[of_survival, columns], table.loc[of_survival, columns])


def test_the_ledger_keeps_a_variant_for_good_and_once(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger" / "toy.variants.tsv"
    row = {key: value for key, value in declared("base__a")[0].items() if key != "label"}
    record_variant(ledger, row)
    record_variant(ledger, {**row, "variant": "base__renamed", "sweep": "other"})
    record_variant(ledger, {**row, "digest": "another"})
    found = read_variants(ledger)
    assert found["digest"].tolist() == ["d-base__a", "another"], "a new name does not make a new variant"
    assert list(found.columns) == VARIANT, "no date and no user enters results"
    assert read_table(ledger)["date"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()


def test_training_a_variant_writes_it_down_first_and_the_command_compares(
    study: dict[str, Any], tmp_path: Path
) -> None:
    write_table(study["subjects"], tmp_path / "subjects.tsv")
    write_table(study["split"], tmp_path / "split.tsv")
    ledger = tmp_path / "toy.variants.tsv"
    about = {"sweep": "s", "base": "base", "changes": {"columns": ["afp"]}, "digest": "0" * 64}
    name = "base__columns_afp"
    whole = {**settings(**{name: ENTRIES[name]}), "variant": about}
    common = ["train", "--model", name, "--subjects", str(tmp_path / "subjects.tsv"), "--split",
              str(tmp_path / "split.tsv"), "--settings", json.dumps(whole), "--out", str(tmp_path / name)]  # fmt: skip
    assert main(common) == 2, "a variant is never trained uncounted"
    assert main([*common, "--variants", str(ledger)]) == 0
    assert read_variants(ledger)["changes"].tolist() == ['{"columns": ["afp"]}']
    given = {"seed": 7, "validate": {"bootstrap": 50}, "variants": [
        {"sweep": "s", "base": "base", "variant": name, "label": "afp", "changes": "{}", "digest": "0" * 64}
    ]}  # fmt: skip
    command = ["experiment", "--train", str(study["folder"] / "base"), str(tmp_path / name), "--variants", str(ledger),
               "--settings", json.dumps(given), "--out", str(tmp_path / "experiment.tsv")]  # fmt: skip
    assert main(command) == 0
    table = read_table(tmp_path / "experiment.tsv", "metrics")
    assert one(table, "auc_difference", name)["value"] < 0
    assert read_table(tmp_path / "experiment.variants.tsv")["declared"].tolist() == [1]
    assert main([part for part in command if part != str(tmp_path / name)]) == 2, "a variant is missing"


def choice(study: dict[str, Any], by: str = "auc", folders: list[Path] | None = None) -> Any:
    spec = {"kind": "choice", "endpoint": "response", "choose": {"among": "s", "by": by}, "threshold": "youden"}
    folders = folders or [study["folder"] / name for name in ENTRIES]
    return train_choice("best", settings(best=spec), study["subjects"], study["split"], folders)


@pytest.mark.parametrize("by", ["auc", "log_loss"])
def test_a_fold_is_judged_by_what_the_other_folds_chose(study: dict[str, Any], by: str) -> None:
    training = choice(study, by)
    tables = {name: read_table(study["folder"] / name / "predictions.tsv") for name in ENTRIES}
    scores = training.predictions
    for (repeat, fold), part in scores.groupby(["repeat", "fold"]):
        reached = {}
        for name, table in tables.items():
            rest = table[(table["repeat"] == repeat) & (table["fold"] != fold)]
            y, p = rest["y_true"].to_numpy(float), rest["y_prob"].to_numpy(float)
            pairs = rest[rest["y_true"] == 1].merge(rest[rest["y_true"] == 0], on="fold")
            value = np.heaviside(pairs["y_prob_x"] - pairs["y_prob_y"], 0.5).mean()
            reached[name] = value if by == "auc" else (y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        taken = max(reached, key=lambda name: reached[name])
        assert training.facts["in_folds"][f"{int(repeat)}-{int(fold)}"] == taken
        best = tables[taken]
        own = best[(best["repeat"] == repeat) & (best["fold"] == fold)].set_index("subject")["y_prob"]
        assert part.set_index("subject")["y_prob"].to_dict() == own.to_dict()
    assert training.selection["frequency"].sum() == pytest.approx(1)
    assert training.selection["in_final_model"].tolist().count(1) == 1
    steps = training.fits[training.fits["step"] == "choose"]
    assert len(steps) == 9, "two repeats of four folds, and the final choice"
    assert steps["n"].tolist()[-1] == 160


def test_a_choice_is_frozen_with_the_files_of_its_candidate_and_scores_like_it(
    study: dict[str, Any], tmp_path: Path
) -> None:
    training = choice(study)
    write_training(training, tmp_path / "best")
    best, chosen = open_frozen(tmp_path / "best"), training.facts["chosen"]
    assert best.facts["kind"] == "tabular" and best.facts["model"] == "best"
    new, _ = cohort("ext", 40, 9, role="external")
    ours = predict(best, "ext", CohortRole.EXTERNAL, new)
    theirs = predict(open_frozen(study["folder"] / chosen), "ext", CohortRole.EXTERNAL, new)
    assert ours["y_prob"].tolist() == theirs["y_prob"].tolist()
    named = set(contribution_table(best, ours, new)["feature"]) - {"(base)"}
    assert named and named <= set(read_table(study["folder"] / chosen / "selection.tsv")["feature"])
    assert set(best.facts["candidates"]) == set(ENTRIES)
    own = open_frozen(study["folder"] / chosen).facts
    assert best.facts["survival_cut"] == own["survival_cut"], "on the scale of the model that is frozen"
    assert best.facts["threshold"] == own["threshold"]


def test_a_choice_is_made_by_the_code_that_chooses(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    facts = choice(study).facts
    assert facts["kind"] == "tabular" and other_code(facts) == ""
    assert other_code({**facts, "kind": "network"}) == "", "whatever kind of model it chose"
    monkeypatch.setattr("hccflow.freeze.code_digest", lambda command: f"other {command}")
    assert "made by other code" in other_code(facts) and "now other choose" in other_code(facts)


def scored(
    folder: Path, subjects: pd.DataFrame, parts: pd.DataFrame, score: Callable[[pd.DataFrame], pd.Series | np.ndarray]
) -> None:
    """A frozen model whose out-of-fold scores are what `score` makes of the labels and folds."""
    scores = subjects[["cohort", "subject", "session"]].merge(parts[["subject", "repeat", "fold"]], on="subject")
    y = scores["subject"].map(subjects.set_index("subject")["response"])
    scores = scores.assign(study="toy", model=folder.name, endpoint="response", kind="oof", y_true=y)
    write_table(score_table(scores.assign(y_prob=score(scores))), folder / "predictions.tsv")
    write_table(pd.DataFrame({"a": [1]}), folder / "model" / "model.tsv")
    freeze(
        folder, {"model": folder.name, "kind": "tabular", "endpoint": "response", "split_digest": split_digest(parts)}
    )


def test_choosing_among_models_without_signal_does_not_make_one(tmp_path: Path) -> None:
    """The best of twelve noise models looks good on the rows that chose it; a choice is judged on other rows."""
    subjects, _ = cohort("dev", 120, 5, signal=0.0)
    rng = np.random.default_rng(11)
    spec = {"kind": "choice", "endpoint": "response", "choose": {"among": "s", "by": "auc"}}
    apparent, honest = [], []
    for number in range(5):
        subjects["response"] = rng.permutation(np.repeat([0.0, 1.0], 60))
        parts = split(subjects)
        folders = [tmp_path / f"noise{number}" / f"m{candidate}" for candidate in range(12)]
        for folder in folders:
            scored(folder, subjects, parts, lambda rows: rng.random(len(rows)))
        found = train_choice("best", settings(best=spec), subjects, parts, folders).predictions
        tables = [read_table(folder / "predictions.tsv") for folder in folders]
        apparent.append(max(auc(t["y_true"], t["y_prob"]).value or 0 for t in tables))
        honest.append(auc(found["y_true"], found["y_prob"]).value or 0)
    error = 0.053 / np.sqrt(5)  # sqrt(121 / (12 * 60 * 60)): the standard error of one AUC under the null
    assert np.mean(apparent) > 0.5 + 3 * error
    assert abs(np.mean(honest) - 0.5) < 4 * error


def test_a_candidate_loses_nothing_by_the_offsets_of_its_folds(tmp_path: Path) -> None:
    """One candidate ranks better inside every fold, and is worse over all rows: each fold has its own level."""
    subjects, _ = cohort("dev", 120, 5)
    parts, rng = split(subjects), np.random.default_rng(3)
    spec = {"kind": "choice", "endpoint": "response", "choose": {"among": "s", "by": "auc"}}
    folders = [tmp_path / name for name in ("weak", "shifted")]
    scored(folders[0], subjects, parts, lambda rows: 0.4 + 0.02 * rows["y_true"] + 0.1 * rng.random(len(rows)))
    scored(
        folders[1],
        subjects,
        parts,
        lambda rows: 0.2 * rows["fold"] + 0.05 * rows["y_true"] + 0.1 * rng.random(len(rows)),
    )
    pooled = [auc(t["y_true"], t["y_prob"]).value for t in (read_table(f / "predictions.tsv") for f in folders)]
    assert (pooled[0] or 0) > (pooled[1] or 1)
    facts = train_choice("best", settings(best=spec), subjects, parts, folders).facts
    assert facts["chosen"] == "shifted" and set(facts["in_folds"].values()) == {"shifted"}


def test_a_subject_of_many_sessions_has_one_voice_in_a_choice() -> None:
    """Each of three pairs counts once: by sessions the pair of the subject with nine would outvote the other two."""
    names = ["a", "b", "c", "d"]
    subjects = np.repeat(["dev/a", "dev/b", "dev/c", "dev/d"], [9, 1, 1, 1]).astype(object)
    y = np.repeat([1.0, 1.0, 1.0, 0.0], [9, 1, 1, 1])
    one = np.repeat([0.9, 0.1, 0.1, 0.5], [9, 1, 1, 1])
    other = np.repeat([0.1, 0.9, 0.9, 0.5], [9, 1, 1, 1])
    split = pd.DataFrame({"cohort": "dev", "subject": names, "role": "train", "repeat": 0, "fold": 0})
    fold = Fold(pd.DataFrame({"one": one, "other": other}), y, subjects, (1, 0, 0))
    assert learn_choice(fold, "auc", split).name == "other"


def test_a_choice_without_a_fold_of_both_classes_says_so(tmp_path: Path) -> None:
    subjects, _ = cohort("dev", 40, 5)
    parts = split(subjects, repeats=1)
    parts["fold"] = parts["subject"].map(subjects.set_index("subject")["response"])
    fold = Fold(pd.DataFrame({"a": subjects["response"]}), subjects["response"].to_numpy(float),
                (subjects["cohort"] + "/" + subjects["subject"]).to_numpy(object), (1, 0, 0))  # fmt: skip
    with pytest.raises(FitError, match="no fold has rows of both classes"):
        learn_choice(fold, "auc", parts)


def test_a_changed_candidate_or_another_split_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    subjects, parts = study["subjects"], study["split"]
    write_training(train("base", settings(base=BASE), subjects, split(subjects, repeats=1)), tmp_path / "base")
    with pytest.raises(LeakageError, match="was trained on another split"):
        choice(study, folders=[tmp_path / "base", study["folder"] / "base__columns_afp"])
    write_training(train("base", settings(base=BASE), subjects, parts), tmp_path / "base")
    model = tmp_path / "base" / "model" / "model.json"
    edited = copy.deepcopy(json.loads(model.read_text(encoding="utf-8")))
    edited["learner"]["coef"] = {}
    model.write_text(json.dumps(edited), encoding="utf-8")
    with pytest.raises(FreezeError, match=r"model\.json"):
        choice(study, folders=[tmp_path / "base", study["folder"] / "base__columns_afp"])


def test_the_report_shows_every_variant_and_says_how_many_were_tried(study: dict[str, Any], tmp_path: Path) -> None:
    ledger = pd.DataFrame([{k: v for k, v in declared("base__gone")[0].items() if k != "label"}])[VARIANT]
    table, variants = judged(study, ledger)
    write_table(table, tmp_path / "validate" / "experiment.tsv")
    write_table(variants, tmp_path / "validate" / "experiment.variants.tsv")
    write_training(choice(study), tmp_path / "train" / "best")
    given = report_tree.settings()
    given["models"] = {"base": {**BASE, "label": "Ridge"}, "best": {"kind": "choice", "label": "Best"}}
    section = experiment.build(Results(tmp_path, given))
    assert section.labels == ["exploratory"]
    compared, dropped, chosen = (block for block in section.blocks if isinstance(block, Table))
    assert "3 variants were ever trained" in compared.caption and "declares 2" in compared.caption
    assert [row.cells[0].text for row in compared.rows[1:]] == ["Ridge (base)", *list(ENTRIES)[1:]]
    gap = one(table, "auc_difference_within_folds", "base__columns_afp")
    assert compared.rows[2].cells[2].text.startswith(f"−{abs(gap['value']):.2f} (")
    assert compared.rows[2].cells[5].text.startswith(f"{one(table, 'auc', 'base__columns_afp')['value']:.2f} (")
    assert [row.cells[1].text for row in dropped.rows] == ["base__gone"]
    assert [row.cells[0].text for row in chosen.rows] == ["Ridge", *list(ENTRIES)[1:]]
    assert sorted(row.cells[2].text for row in chosen.rows) == ["no", "no", "yes"]
    (tmp_path / "validate" / "experiment.tsv").unlink()
    assert [type(block) for block in experiment.build(Results(tmp_path, given)).blocks] == [Callout]


def table_study(folder: Path, sweep: dict[str, Any]) -> SmallStudy:
    """A study of imported features with one sweep and a choice among it, in a folder of its own."""
    study = SmallStudy.copy(folder)
    rng = np.random.default_rng(2)
    for name, size in (("one", 60), ("two", 30)):
        place = folder / "data" / name
        place.mkdir(parents=True)
        response = np.arange(size) % 2
        people = pd.DataFrame({"subject": [f"{name.upper()}{i:03d}" for i in range(size)], "session": "", "site": "A"})
        outcome = {"os_days": rng.integers(50, 900, size), "os_event": 1 - response}
        signal = response + rng.normal(0, 1, size)
        ages = {"age": (50 + 5 * signal).round(1), "response": response}
        write_table(people.assign(batch="01", **ages, **outcome), place / "participants.tsv")
        features = {"arterial__mean": signal + rng.normal(0, 1, size), "portal__mean": rng.normal(0, 1, size)}
        write_table(people[["subject", "session"]].assign(**features), place / "features.tsv")
        card = {"title": name, "batches": 1, "source": {"kind": "table"}}
        (place / "cohort.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    config = configuration()
    del config["imaging"]
    config["extract"] = {"rois": {"manual": {"source": "table"}}}
    best = {"kind": "choice", "endpoint": "response", "choose": {"among": "learners"}}
    config["models"] |= {"best": best}
    config |= {"experiment": {"learners": sweep}, "primary": {**config["primary"], "model": "best"}}
    study.configure(config)
    return study


@pytest.mark.slow
def test_a_study_runs_its_variants_as_one_dag_and_remembers_what_was_dropped(tmp_path: Path) -> None:
    sweep = {"of": "radiomics", "vary": {"learner": ["logistic", "firth"]}}
    study = table_study(tmp_path, sweep)
    study.snakemake()
    results = tmp_path / "results" / "small"
    assert read_table(results / "validate" / "experiment.variants.tsv")["declared"].tolist() == [1, 1]
    assert not study.planned()
    assert set(read_table(tmp_path / "ledger" / "small.tsv")["model"]) == {"clinical", "radiomics", "best"}
    config = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    config["experiment"]["learners"] = {"of": "radiomics", "vary": {"learner": ["firth"]}, "cohorts": ["two"]}
    study.configure(config)
    assert "train" not in study.planned(), "what is trained stays trained"
    study.snakemake()
    variants = read_table(results / "validate" / "experiment.variants.tsv")
    assert variants[["variant", "declared"]].to_numpy().tolist() == [
        ["radiomics__learner_firth", 1], ["radiomics__learner_logistic", 0],
    ]  # fmt: skip
    assert "radiomics__learner_firth" in set(read_table(tmp_path / "ledger" / "small.tsv")["model"])
    page = (results / "report" / "report.html").read_text(encoding="utf-8")
    assert "2 variants were ever trained" in page
