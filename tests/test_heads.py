"""Several endpoints in one network: losses that are right, masked and weighed, and scores that mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from safetensors.numpy import save_file

from hccflow.cli import main
from hccflow.errors import ConfigError, FitError
from hccflow.ids import CohortRole
from hccflow.metrics.concordance import Concordance
from hccflow.metrics.cox import RiskSets
from hccflow.networks import loop
from hccflow.networks.croptable import crop_table
from hccflow.networks.heads import Head, Tasks, check_tasks, tasks_of
from hccflow.networks.losses import RiskMemory, TaskLoss, cox_loss, discrete_loss, expected_survival, response_loss
from hccflow.networks.overlays import explain_cohort
from hccflow.networks.registry import Shape
from hccflow.paths import case_file
from hccflow.predict import open_frozen, predict
from hccflow.tables import read_table, write_table
from hccflow.train.networks import train_fold, train_network
from hccflow.train.training import write_training
from tabular_study import split

CPU = torch.device("cpu")
NAN = float("nan")
CUTS = (100.0, 200.0, 400.0)
ENDPOINTS: dict[str, Any] = {
    "mvi": {"kind": "binary", "landmark_days": 0}, "rfs": {"kind": "survival", "landmark_days": 0},
    "os": {"kind": "survival", "landmark_days": 0}, "late": {"kind": "survival", "landmark_days": 0, "entry": "e"},
}  # fmt: skip
SPEC: dict[str, Any] = {
    "architecture": "multitask_encoder", "crop": "box", "augment": "none", "epochs": 10, "patience": 10,
    "batch_size": 12, "learning_rate": 0.01, "weight_decay": 0.0, "dropout": 0.0, "width": 3, "seeds": 1,
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def model(own: str = "mvi", weighting: str = "fixed", **tasks: Any) -> dict[str, Any]:
    """Entry of the configuration."""
    return {"kind": "network", "endpoint": own, "network": {**SPEC, "tasks": tasks, "weighting": weighting}}


def follow_up(n: int, seed: int, coefficients: tuple[float, ...] = (0.8, -0.5)) -> tuple[np.ndarray, np.ndarray]:
    """Covariates, and days with events from exponential hazards; days are rounded, so there are ties."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(coefficients)))
    death = rng.exponential(200 * np.exp(-x @ np.array(coefficients)))
    end = rng.uniform(50, 600, n)
    days = np.ceil(np.minimum(death, end) / 10) * 10
    return x, np.column_stack([days, death <= end])


# Cox


def test_the_partial_likelihood_is_that_of_the_metrics_with_ties_and_missing_rows() -> None:
    x, y = follow_up(60, 0)
    beta = np.array([0.4, 1.1])
    hand = RiskSets(x, y[:, 0], y[:, 1] == 1).evaluate(beta)
    risk = torch.tensor(x @ beta, requires_grad=True)
    loss = cox_loss(risk, torch.tensor(y))
    assert len(np.unique(y[y[:, 1] == 1, 0])) < y[:, 1].sum(), "there are ties"
    assert loss.item() == pytest.approx(-hand[0] / y[:, 1].sum(), rel=1e-12)
    loss.backward()
    assert risk.grad is not None
    np.testing.assert_allclose(risk.grad.numpy() @ x, -hand[1] / y[:, 1].sum(), rtol=1e-9)

    more = torch.tensor(np.append(x @ beta, [3.0, -2.0]), requires_grad=True)
    gaps = torch.tensor(np.vstack([y, [[NAN, 1.0], [50.0, NAN]]]))
    same = cox_loss(more, gaps)
    same.backward()
    assert same.item() == pytest.approx(loss.item(), rel=1e-12)
    assert more.grad is not None and (more.grad[-2:] == 0).all() and (more.grad[:-2] != 0).any()
    no_event = cox_loss(more, torch.tensor([[10.0, 0.0]] * 62))
    assert no_event.item() == 0


def test_minimising_over_small_batches_gives_the_coefficients_of_lifelines() -> None:
    x, y = follow_up(150, 1)
    table = pd.DataFrame(np.column_stack([x, y]), columns=["a", "b", "days", "event"])
    wanted = CoxPHFitter().fit(table, "days", "event").params_.to_numpy()
    features, target = torch.tensor(x), torch.tensor(y)
    memory = RiskMemory(target)
    beta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    steps, rng = torch.optim.SGD([beta], lr=0.1), np.random.default_rng(0)
    for epoch in range(160):
        steps.param_groups[0]["lr"] = 0.15 * 0.95**epoch
        for places in loop.batches(150, 15, rng):
            where = torch.as_tensor(places)
            loss = memory.loss(features[where] @ beta, where)
            steps.zero_grad()
            loss.backward()
            steps.step()
    np.testing.assert_allclose(beta.detach().numpy(), wanted, atol=1e-3)


def test_the_risk_set_of_a_batch_is_the_whole_training_set() -> None:
    x, y = follow_up(40, 2)
    target, risk = torch.tensor(y), torch.tensor(x[:, 0], requires_grad=True)
    cox_loss(risk, target).backward()
    memory = RiskMemory(target, risk.detach())
    live = risk.detach().clone().requires_grad_()
    parts = [torch.arange(start, start + 10) for start in range(0, 40, 10)]
    losses = [memory.loss(live[part], part) for part in parts]
    torch.stack(losses).mean().backward()
    assert risk.grad is not None and live.grad is not None
    torch.testing.assert_close(live.grad, risk.grad)
    assert losses[0].item() == pytest.approx(cox_loss(risk, target).item())
    unseen = RiskMemory(target)
    assert unseen.loss(live[:10], parts[0]).item() == pytest.approx(cox_loss(live[:10], target[:10]).item())


# Discrete time


def test_the_likelihood_of_intervals_is_that_by_hand() -> None:
    hazard = np.array([0.1, 0.2, 0.3])
    logits = torch.tensor(np.log(hazard / (1 - hazard))).repeat(8, 1).requires_grad_()
    target = torch.tensor([
        [150.0, 1.0], [200.0, 1.0], [500.0, 1.0], [149.0, 0.0], [150.0, 0.0], [500.0, 0.0], [0.0, 1.0], [NAN, NAN],
    ])  # fmt: skip
    hand = [
        0.9 * 0.2, 0.9 * 0.2,  # an event on the day on which an interval ends is inside
        0.9 * 0.8 * 0.7,  # after the last interval: survived
        0.9, 0.9 * 0.8,  # censored before and from the middle of the second interval
        0.9 * 0.8 * 0.7, 0.1,
    ]  # fmt: skip
    loss = discrete_loss(logits, target, torch.tensor(CUTS))
    assert loss.item() == pytest.approx(-np.log(hand).mean(), rel=1e-6)
    loss.backward()
    assert logits.grad is not None and (logits.grad[-1] == 0).all() and (logits.grad[0, 2] == 0).all()
    alive = np.cumprod(1 - hazard)
    area = 100 * (1 + alive[0]) / 2 + 100 * (alive[0] + alive[1]) / 2 + 200 * (alive[1] + alive[2]) / 2
    assert expected_survival(logits[:1].detach(), torch.tensor(CUTS)).item() == pytest.approx(area)


# Weights


def test_a_task_without_labels_changes_nothing_and_learnt_weights_move() -> None:
    tasks = tasks_of(model(mvi=1.0, rfs=0.5, weighting="uncertainty"), ENDPOINTS)
    task = TaskLoss(tasks)
    assert task.weights() == pytest.approx({"mvi": 1.0, "rfs": 0.5})
    outputs = {"mvi": torch.randn(6, requires_grad=True), "rfs": torch.randn(6, requires_grad=True)}
    y = torch.tensor([1.0, 0.0, 1.0, 0.0, NAN, 1.0])
    none = {"mvi": y, "rfs": torch.full((6, 2), NAN)}
    total, parts = task(outputs, none)
    total.backward()
    assert total.item() == pytest.approx(response_loss(outputs["mvi"], y).item()) and parts["rfs"] == 0
    assert task.log_variance is not None and task.log_variance.grad is not None
    assert task.log_variance.grad[1] == 0 and task.log_variance.grad[0] != 0
    assert outputs["mvi"].grad is not None and outputs["mvi"].grad[4] == 0
    assert outputs["rfs"].grad is None or (outputs["rfs"].grad == 0).all()

    # with losses that stay, the weights go to one over twice the loss
    fixed = {"mvi": torch.zeros(6), "rfs": torch.zeros(6)}
    both = {"mvi": y, "rfs": torch.tensor([[float(d), 1.0] for d in range(1, 7)])}
    steps = torch.optim.Adam(task.parameters(), lr=0.05)
    for _ in range(400):
        steps.zero_grad()
        task(fixed, both)[0].backward()
        steps.step()
    last = {name: 1 / (2 * float(loss)) for name, loss in task(fixed, both)[1].items()}
    assert task.weights() == pytest.approx(last, rel=1e-3)


@pytest.mark.parametrize(
    ("tasks", "own", "words"),
    [
        ({"segmentation": 1.0}, "mvi", "does not learn its endpoint"),
        ({"mvi": 0.0, "rfs": 1.0}, "mvi", "does not learn its endpoint"),
        ({"mvi": 1.0, "rsf": 1.0}, "mvi", "unknown task 'rsf'.*did you mean 'rfs'"),
        ({"mvi": 1.0, "rfs": {"loss": "bce"}}, "mvi", "the loss does not fit a survival endpoint"),
        ({"mvi": {"loss": "cox"}}, "mvi", "the loss does not fit a binary endpoint"),
        ({"mvi": 1.0, "rfs": {"loss": "discrete"}}, "mvi", "intervals_days belong to the loss discrete"),
        ({"rfs": {"intervals_days": [10, 20]}}, "rfs", "intervals_days belong to the loss discrete"),
        ({"rfs": {"loss": "discrete", "intervals_days": [20, 10]}}, "rfs", "rising days"),
        ({"mvi": 1.0, "late": 1.0}, "mvi", "delayed entry"),
        ({"mvi": 1.0, "segmentation": {"loss": "bce"}}, "mvi", "segmentation has a weight only"),
    ],
)
def test_tasks_that_cannot_be_learnt_are_refused(tasks: dict[str, Any], own: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_tasks(model(own, **tasks), ENDPOINTS, "models.deep")


def test_what_a_network_learns_is_read_from_the_simplest_form() -> None:
    plain = {"endpoint": "rfs", "network": {"architecture": "multitask_encoder"}}
    assert tasks_of(plain, ENDPOINTS) == Tasks({"rfs": Head("cox", 1.0)}, 0.5)
    plain["network"] = {"architecture": "resnet"}  # without a segmentation path
    assert tasks_of(plain, ENDPOINTS) == Tasks({"rfs": Head("cox", 1.0)})
    full = model("mvi", os={"loss": "discrete", "intervals_days": [100, 200]}, mvi=2, rfs=0, weighting="uncertainty")
    assert tasks_of(full, ENDPOINTS) == Tasks(
        {"mvi": Head("bce", 2.0), "os": Head("discrete", 1.0, (100.0, 200.0))}, 0.0, True
    )
    assert tasks_of(full, ENDPOINTS).logits == {"mvi": 1, "os": 2}


# The stage


def rows_of(subjects: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops: a blob whose first channel is bright with mvi, and whose second is as bright as the hazard is high."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"))
    centre = rng.uniform(2.8, 5.2, (len(subjects), 3, 1, 1, 1))
    masks = ((grid[None] - centre) ** 2).sum(axis=1) < 5
    images = 0.1 * rng.normal(size=(len(subjects), 2, 8, 8, 8))
    images[:, 0] += masks * (0.3 + 1.5 * subjects["truth"].to_numpy()[:, None, None, None])
    images[:, 1] += masks * (1.0 + 0.5 * subjects["hazard"].to_numpy()[:, None, None, None])
    return images.astype(np.float32), masks


def cohort(root: Path, name: str, n: int, seed: int, role: str, signal: float = 1.5) -> pd.DataFrame:
    """Subjects and their crops; a part knows no mvi, another no follow-up, one nothing."""
    rng = np.random.default_rng(seed)
    hazard, mvi = rng.normal(size=n), np.arange(n) % 2
    death = rng.exponential(250 * np.exp(-signal * hazard))
    end = rng.uniform(100, 700, n)
    subjects = pd.DataFrame({
        "cohort": name, "subject": [f"{name.upper()}{i:03d}" for i in range(n)], "session": "", "site": "S",
        "batch": "01", "role": role, "mvi": mvi.astype(float), "truth": mvi, "hazard": hazard,
    })  # fmt: skip
    for endpoint in ("rfs", "os"):
        subjects[f"{endpoint}_time_days"] = np.ceil(np.minimum(death, end))
        subjects[f"{endpoint}_event"] = (death <= end).astype(float)
    subjects.loc[:5, "mvi"] = np.nan
    subjects.loc[5:9, ["rfs_time_days", "rfs_event", "os_time_days", "os_event"]] = np.nan
    images, masks = rows_of(subjects, seed)
    folder = root / name / "crop-box"
    for i, subject in enumerate(subjects["subject"]):
        path = folder / "batch-01" / case_file(subject, "", "crop", desc="box", ext=".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"image": images[i], "mask": masks[i].astype(np.uint8)}, path)
    keys = subjects[["cohort", "subject", "session"]]
    write_table(keys.assign(status="ok", reason="", digest="d"), folder / "manifest.tsv")
    return subjects.drop(columns=["truth", "hazard"])


def settings(entry: dict[str, Any]) -> dict[str, Any]:
    """Settings of the commands."""
    return {
        "study": "toy", "seed": 3, "columns": {}, "endpoints": ENDPOINTS, "models": {"deep": entry},
        "survive": {"cut": "median", "endpoints": ["rfs", "os"], "models": ["deep"], "times_days": [200]},
    }  # fmt: skip


def trained(root: Path, subjects: pd.DataFrame, config: dict[str, Any]) -> dict[str, Any]:
    """Train on two folds and freeze."""
    folds, crops = split(subjects.assign(response=subjects["mvi"]), folds=2), crop_table([root / "dev" / "crop-box"])
    args = ("deep", config, subjects, folds, crops)
    places = [root / "deep" / f"fold-0-{fold}" for fold in (0, 1)]
    for fold, out in enumerate(places):
        train_fold(*args, repeat=0, fold=fold, out=out, work=root / "work")
    training, history = train_network(*args, places, work=root / "work")
    write_training(training, root / "deep")
    return {"root": root, "args": args, "training": training, "history": history, "folds": places}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A network of three endpoints and the mask, with learnt weights."""
    root = tmp_path_factory.mktemp("heads")
    subjects = cohort(root, "dev", 60, 0, "development")
    tasks = {"mvi": 1.0, "rfs": 1.0, "os": {"loss": "discrete", "intervals_days": [100, 300, 600]}, "segmentation": 0.5}
    return trained(root, subjects, settings(model("mvi", "uncertainty", **tasks)))


def concordance(table: pd.DataFrame) -> float:
    """Harrell's C of risks."""
    known = table.dropna(subset=["risk", "time_days"])
    time, event, risk = (known[name].to_numpy(float) for name in ("time_days", "event", "risk"))
    return float(Concordance(time, event == 1, risk).estimate(0.95).value or 0)


def test_every_case_is_scored_for_every_endpoint_and_teaches_what_it_knows(study: dict[str, Any]) -> None:
    training, subjects = study["training"], study["args"][2]
    scores = training.predictions
    assert scores.groupby("endpoint").size().to_dict() == {"mvi": 60, "os": 60, "rfs": 60}
    assert scores.loc[scores["endpoint"] == "mvi", "risk"].isna().all()
    assert scores.loc[scores["endpoint"] != "mvi", ["y_prob", "y_true", "threshold"]].isna().all(axis=None)
    assert scores.loc[scores["endpoint"] == "rfs", "time_days"].notna().sum() == 55
    assert scores.loc[scores["endpoint"] == "os", "risk"].between(-600, 0).all()
    assert (training.manifest["status"] == "ok").sum() == 59, "one case knows nothing"
    fits = training.fits.set_index("step")
    final = fits[fits["fold"].isna()]
    assert final.loc["network.0", "n"] == 59 and "mvi 54, rfs 55, os 55" in final.loc["network.0", "detail"]
    assert final.loc["threshold", "n"] == 54 and final.loc["survival_cut.rfs", "n"] == 55
    assert final.loc["network.0.risk.rfs", "n"] == 59
    assert final.loc["network.0.level.mvi", "n"] == 54, "only those whose label is known"
    facts = json.loads((study["root"] / "deep" / "freeze.json").read_text(encoding="utf-8"))
    assert facts["heads"]["rfs"]["n"] == 55 and facts["heads"]["rfs"]["threshold"]["value"] is None
    assert facts["training"]["n"] == 54 and facts["threshold"] == facts["heads"]["mvi"]["threshold"]
    rfs = scores[scores["endpoint"] == "rfs"].dropna(subset=["time_days"])
    assert facts["heads"]["rfs"]["survival_cut"]["value"] == pytest.approx(rfs["risk"].median())
    assert set(facts["seed_sd"]) == {"mvi", "rfs", "os"}
    assert set(facts["task_weights"]) == {"mvi", "rfs", "os", "segmentation"} and facts["task_weights"]["mvi"] != 1
    assert {"train_rfs", "stop_os", "stop_loss", "weight_segmentation"} <= set(study["history"])
    assert len(subjects) == 60


def test_a_planted_hazard_is_found_and_a_permuted_one_is_not(study: dict[str, Any], tmp_path: Path) -> None:
    scores = study["training"].predictions
    for endpoint in ("rfs", "os"):
        assert concordance(scores[scores["endpoint"] == endpoint]) > 0.65
    null = cohort(tmp_path, "dev", 60, 0, "development", signal=0.0)
    found = trained(tmp_path, null, settings(model("rfs", rfs=1.0)))
    assert 0.35 < concordance(found["training"].predictions) < 0.65
    facts = json.loads((tmp_path / "deep" / "freeze.json").read_text(encoding="utf-8"))
    assert facts["endpoint"] == "rfs" and facts["threshold"]["value"] is None


def test_an_unseen_cohort_is_scored_for_every_endpoint(study: dict[str, Any], tmp_path: Path) -> None:
    external = cohort(tmp_path, "ext", 30, 5, "external")
    frozen = open_frozen(study["root"] / "deep")
    crops = crop_table([tmp_path / "ext" / "crop-box"])
    scores = predict(frozen, "ext", CohortRole.EXTERNAL, external, crops)
    assert scores.groupby("endpoint").size().to_dict() == {"mvi": 30, "os": 30, "rfs": 30}
    rfs = scores[scores["endpoint"] == "rfs"]
    assert concordance(rfs) > 0.65 and rfs["y_prob"].isna().all()
    np.testing.assert_array_equal(rfs["time_days"].to_numpy(), external["rfs_time_days"].to_numpy())
    shared = study["args"][2].assign(role="followup", cohort="fup")
    again = predict(frozen, "fup", CohortRole.FOLLOWUP, shared, None, shared_with="dev")
    own = study["training"].predictions
    for endpoint, column in (("mvi", "y_prob"), ("rfs", "risk")):
        one, two = (t[t["endpoint"] == endpoint].set_index("subject")[column] for t in (again, own))
        pd.testing.assert_series_equal(one, two)


def test_every_head_has_its_maps(study: dict[str, Any], tmp_path: Path) -> None:
    scores, (_, _, subjects, _, crops) = study["training"].predictions, study["args"]
    table = explain_cohort(study["root"] / "deep", {}, subjects, crops, scores, tmp_path, each=1, seed=0)
    assert table.groupby(["chosen", "endpoint", "method"]).size().eq(1).all() and len(table) == 3 * 3 * 2
    told = table.groupby("endpoint")["explains"].agg(set).to_dict()
    assert told["rfs"] == told["os"] == {"higher risk"} and told["mvi"] <= {"event", "no event"}
    assert (table["energy_in_mask"].notna() | table["reason"].ne("")).all()
    assert table["y_prob"].notna().all() and len(list(tmp_path.glob("*_cam.png"))) == 3


def test_a_fold_without_events_is_said(study: dict[str, Any], tmp_path: Path) -> None:
    name, config, subjects, folds, crops = study["args"]
    none = subjects.assign(rfs_event=0.0)
    with pytest.raises(FitError, match="no positive training row; where: repeat 0, fold 0, endpoint rfs"):
        train_fold(name, config, none, folds, crops, repeat=0, fold=0, out=tmp_path / "f", work=tmp_path / "w")


def test_learnt_weights_and_risks_are_taken_up_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = cohort(tmp_path, "dev", 24, 1, "development")
    images, masks = rows_of(subjects.assign(truth=np.arange(24) % 2, hazard=0.5), 1)
    y = torch.tensor(subjects[["rfs_time_days", "rfs_event"]].to_numpy(), dtype=torch.float32)
    labels = {"mvi": torch.tensor(subjects["mvi"].to_numpy(), dtype=torch.float32), "rfs": y}
    rows = loop.Rows(torch.tensor(images), torch.tensor(masks[:, None]).float(), torch.zeros(24, 0), labels)
    learnt = tasks_of(model(mvi=1.0, rfs=1.0, weighting="uncertainty"), ENDPOINTS)
    args = (Shape(2, (8, 8, 8), 0, learnt.logits), {**SPEC, "epochs": 4}, learnt, rows, rows.take(range(12)))
    whole = loop.train_network(*args, seed=1, device=CPU)
    epoch = loop._epoch

    def killed(*given: Any) -> dict[str, float]:
        if given[7] == 2:
            raise KeyboardInterrupt
        return epoch(*given)

    monkeypatch.setattr(loop, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        loop.train_network(*args, seed=1, device=CPU, checkpoint=tmp_path / "c.safetensors")
    monkeypatch.setattr(loop, "_epoch", epoch)
    resumed = loop.train_network(*args, seed=1, device=CPU, checkpoint=tmp_path / "c.safetensors")
    assert resumed.history == whole.history and "weight_rfs" in whole.history[0]


def test_the_commands_judge_every_head_by_what_it_is(study: dict[str, Any], tmp_path: Path) -> None:
    external = cohort(tmp_path, "ext", 30, 5, "external")
    scores = predict(
        open_frozen(study["root"] / "deep"), "ext", CohortRole.EXTERNAL, external,
        crop_table([tmp_path / "ext" / "crop-box"]),
    )  # fmt: skip
    for name, table in (("subjects", external), ("scores", scores)):
        write_table(table, tmp_path / f"{name}.tsv")
    config = study["args"][1]
    config = {**config, "survive": {**config["survive"], "conf_type": "log-log", "covariates": []}}
    given = ["--predictions", str(tmp_path / "scores.tsv"), "--subjects", str(tmp_path / "subjects.tsv"), "--settings"]
    chosen = json.dumps({**config, "validate": {"bootstrap": 0, "net_benefit_at": [0.5]}})
    assert main(["validate", *given, chosen, "--out", str(tmp_path / "v")]) == 0
    found = read_table(tmp_path / "v" / "metrics.tsv", "metrics")
    assert set(found["endpoint"].dropna()) <= {"mvi", ""} and (found["metric"] == "auc").any()
    freeze = study["root"] / "deep" / "freeze.json"
    made = ["survive", *given, json.dumps(config), "--freeze", str(freeze), "--out", str(tmp_path / "s")]
    assert main(made) == 0
    found = read_table(tmp_path / "s" / "metrics.tsv", "metrics")
    for endpoint in ("rfs", "os"):
        rows = found[(found["endpoint"] == endpoint) & (found["metric"] == "c_harrell") & (found["model"] == "deep")]
        assert rows["value"].iloc[0] == pytest.approx(concordance(scores[scores["endpoint"] == endpoint]))
    own = study["training"].predictions
    write_table(own, tmp_path / "scores.tsv")
    write_table(study["args"][2], tmp_path / "subjects.tsv")
    assert main(made) == 0
    found = read_table(tmp_path / "s" / "metrics.tsv", "metrics")
    found = found[(found["endpoint"] == "rfs") & (found["metric"] == "c_harrell_within_folds")]
    rfs = own[own["endpoint"] == "rfs"].dropna(subset=["time_days"])
    parts = [Concordance(p["time_days"], p["event"] == 1, p["risk"]) for _, p in rfs.groupby("fold")]
    within = sum(p.value * p.pairs for p in parts) / sum(p.pairs for p in parts)
    assert found["value"].tolist() == pytest.approx([within]) and found["ci_low"].notna().all()
    high = int((rfs["risk"] >= json.loads(freeze.read_text())["heads"]["rfs"]["survival_cut"]["value"]).sum())
    assert high == pytest.approx(len(rfs) / 2, abs=1)


def test_a_network_of_a_survival_endpoint_alone_leaves_validate_empty(tmp_path: Path) -> None:
    scores = pd.DataFrame({
        "study": "toy", "model": "deep", "cohort": "ext", "subject": [f"S{i}" for i in range(9)], "session": "",
        "endpoint": "rfs", "kind": "frozen", "risk": np.arange(9.0), "time_days": 100.0, "event": 1,
    })  # fmt: skip
    write_table(scores, tmp_path / "scores.tsv")
    options = json.dumps({"endpoints": ENDPOINTS, "validate": {"bootstrap": 0}})
    out = ["--settings", options, "--out", str(tmp_path / "v")]
    assert main(["validate", "--predictions", str(tmp_path / "scores.tsv"), *out]) == 0
    assert read_table(tmp_path / "v" / "metrics.tsv").empty
