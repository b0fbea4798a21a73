"""A small results folder that follows docs/design.md, made by rule, for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.models.contributions import BASE, COLUMNS
from hccflow.study import check_config
from hccflow.tables import subjects_digest, write_table, write_text

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"phantom-dev": 40, "phantom-ext": 24, "phantom-fup": 20}
FIGURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 100"><rect width="120" height="100" fill="#eef"/></svg>\n'
)


def settings() -> dict[str, Any]:
    """The settings that the rule of the report passes for the default study."""
    config = check_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    config["models"] = {name: config["models"][name] for name in ("size", "clinical", "radiomics")}
    config["report"] = {"known_limits": ["A limit <b>with</b> markup & an ampersand."]}
    auc = {"size": {"value": 0.60}, "clinical": {"value": 0.76}, "imaging": {"value": 0.86}, "all": {"value": 0.91}}
    truth = {
        "response": {"auc": auc},
        "os": {"c_index": {"clinical": {"value": 0.61}, "imaging": {"value": 0.66}, "all": {"value": 0.70}}},
        "information": {"size": ["size"], "clinical": ["child_pugh_b", "afp"], "imaging": ["heterogeneity", "size"],
                        "all": ["child_pugh_b", "afp", "heterogeneity", "size"]},
        "columns": {"child_pugh": "child_pugh_b", "afp_ng_ml": "afp", "diameter_mm": "size"},
    }  # fmt: skip
    titles = {
        "phantom-dev": "Phantom development",
        "phantom-ext": "Phantom external",
        "phantom-fup": "Phantom follow-up",
    }
    cards = {c: {"title": t, "licence": "CC0", "description": "Made by rule."} for c, t in titles.items()}
    return {**config, "cards": cards, "truth": dict.fromkeys(SIZES, truth)}


def build(root: Path) -> dict[str, Any]:
    """Write the tree below `root` and return the settings of its report."""
    config = settings()
    rng = np.random.default_rng(7)
    people = {"phantom-dev": _people("D", 40), "phantom-ext": _people("E", 24)}
    people["phantom-fup"] = [*people["phantom-dev"][:12], *_people("F", 8)]
    for cohort, subjects in people.items():
        _enrol(root, cohort, subjects, config, rng)
        _convert(root, cohort, subjects)
        _validate(root, cohort, config)
        _survive(root, cohort)
    _train(root, config)
    return config


def _people(letter: str, count: int) -> list[str]:
    return [f"{letter}{i:03d}" for i in range(count)]


def _enrol(root: Path, cohort: str, subjects: list[str], config: dict[str, Any], rng: np.random.Generator) -> None:
    rules = [rule["name"] for rule in config["eligibility"]]
    reasons = {subjects[-1]: rules[0], subjects[-2]: rules[3]}
    failed = subjects[-3]
    rows = []
    for subject in subjects:
        status = "failed" if subject == failed else "excluded" if subject in reasons else "ok"
        reason = "slices missing; where: arterial" if subject == failed else reasons.get(subject, "")
        rows.append((cohort, subject, "", status, reason, ""))
    manifest = pd.DataFrame(rows, columns=["cohort", "subject", "session", "status", "reason", "notes"])
    write_table(manifest, root / f"enrol/{cohort}/manifest.tsv", sort_by=["subject"])
    n = len(subjects)
    flow = [("participants", "Participants", n, 0, n)]
    for i, rule in enumerate(rules):
        left = flow[-1][4]
        flow.append(("eligibility", rule, left, [1, 0, 1, 1][i], left - [1, 0, 1, 1][i]))
    flow.append(("enrolled", "Enrolled", n - 3, 0, n - 3))
    columns = ["step", "rule", "n_in", "n_out", "n_left"]
    write_table(pd.DataFrame(flow, columns=columns), root / f"enrol/{cohort}/flow.tsv")
    kept = manifest.loc[manifest["status"] == "ok", "subject"].tolist()
    m = len(kept)
    table = pd.DataFrame(
        {
            "cohort": cohort, "subject": kept, "session": "", "site": rng.choice(["north", "south"], m), "batch": "01",
            "role": config["cohorts"][cohort]["role"], "age": rng.normal(63, 9, m).round(),
            "sex": rng.choice(["F", "M"], m),
            "bclc": rng.choice(["A", "B"], m), "child_pugh": rng.choice(["A", "B"], m, p=[0.8, 0.2]),
            "afp_ng_ml": rng.lognormal(3, 1.5, m).round(1), "tumour_number": rng.integers(1, 5, m),
            "diameter_mm": rng.normal(45, 12, m).round(1), "os_days": rng.integers(60, 1500, m),
            "os_event": rng.integers(0, 2, m), "pfs_days": rng.integers(30, 900, m), "pfs_event": 1,
            "response": rng.integers(0, 2, m),
        }
    )  # fmt: skip
    table.loc[0, "age"] = np.nan
    for name in ("os", "pfs"):
        table[f"{name}_time_days"], table[f"{name}_event"] = table[f"{name}_days"], table[f"{name}_event"]
    write_table(table, root / f"enrol/{cohort}/subjects.tsv", sort_by=["subject"])
    where = {"study": "phantom", "endpoint": "response", "cohort": cohort}
    agreement = [
        Estimate(0.52, 0.31, 0.73, "jackknife", n=m).row("kappa_fleiss", group="all readers", **where),
        undefined("both readers use one category only", n=m).row("kappa", group="1 and 2", **where),
        Estimate(0.86, 0.79, 0.93, "MOVER-Wilson", n=m).row("auc_ceiling", group="1 judged by adjudicated", **where),
    ]
    write_table(metrics_table(agreement), root / f"enrol/{cohort}/agreement.tsv")


def _convert(root: Path, cohort: str, subjects: list[str]) -> None:
    rows = []
    for i, subject in enumerate(subjects):
        failed = i == len(subjects) - 3
        rows.append(
            {
                "cohort": cohort, "subject": subject, "session": "", "status": "failed" if failed else "ok",
                "reason": "slices missing; where: arterial" if failed else "",
                "channels": "" if failed else "arterial,portal", "masks": "" if failed else "liver,tumour",
                "notes": "portal resampled to arterial" if i == 3 else "", "digest": "",
            }
        )  # fmt: skip
        if i < 6 and not failed:
            picture(root / f"convert/{cohort}/batch-01/sub-{subject}/sub-{subject}_desc-qc_image.png", i)
    write_table(pd.DataFrame(rows), root / f"convert/{cohort}/manifest.tsv")


def picture(path: Path, shade: int) -> None:
    """Write a small picture."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    grid = np.add.outer(np.arange(90), np.arange(240)) + 20 * shade
    Image.fromarray((grid % 256).astype(np.uint8)).save(path)


def _split(root: Path) -> pd.DataFrame:
    subjects = pd.read_csv(root / "enrol/phantom-dev/subjects.tsv", sep="\t")["subject"]
    return pd.DataFrame(
        {
            "cohort": "phantom-dev",
            "subject": subjects,
            "role": "train",
            "repeat": 0,
            "fold": np.arange(len(subjects)) % 5,
        }
    )


def _train(root: Path, config: dict[str, Any]) -> None:
    split = _split(root)
    write_table(split, root / "enrol/split.tsv")
    for model, spec in config["models"].items():
        folder = root / f"train/{model}"
        fits = []
        for fold in [0, 1, 2, 3, 4, None]:
            seen = ("phantom-dev/" + split.loc[split["fold"] != fold, "subject"]).tolist()
            for step in ("scale", "select", "tune.0.scale", "learner") if spec["select"] else ("impute", "learner"):
                part = seen[:20] if "." in step else seen
                fits.append((step, None if fold is None else 0, fold, len(part), subjects_digest(part), ""))
        columns = ["step", "repeat", "fold", "n", "subjects_digest", "detail"]
        write_table(
            pd.DataFrame(fits, columns=columns).astype({"repeat": "Int64", "fold": "Int64"}), folder / "fits.tsv"
        )
        names = spec["columns"] or [f"arterial__original_glcm_feature{i:02d}" for i in range(30)]
        share = [round(max(0.0, 1 - 0.12 * i), 2) for i in range(len(names))]
        chosen = pd.DataFrame({"feature": names, "frequency": share, "in_final_model": [int(s > 0.5) for s in share]})
        write_table(chosen, folder / "selection.tsv")
        if model == "clinical":
            write_table(metrics_table(_odds(model)), folder / "odds_ratios.tsv")
        freeze = {
            "threshold": {"value": 0.413, "rule": "youden", "reason": ""},
            "training": {"n": len(split), "n_events": 17, "cohorts": ["phantom-dev"], "subjects_digest": "ab" * 8},
            "versions": {"numpy": "2.4.6"}, "split_digest": "ab" * 32, "files": {"model/model.json": "cd" * 32},
        }  # fmt: skip
        manifest = split[["cohort", "subject"]].assign(session="", status="ok", reason="")
        write_table(manifest, folder / "manifest.tsv")
        write_text(folder / "freeze.json", json.dumps(freeze, indent=1))


def _odds(model: str) -> list[dict[str, Any]]:
    where = {"study": "phantom", "endpoint": "response", "cohort": "phantom-dev", "model": model}
    rows = []
    for group, n, events in (("age", 36, 16), ("child_pugh=A", 30, 12), ("child_pugh=B", 7, 5)):
        rows.append(Estimate(n, n=n, n_events=events).row("n_subjects", group=group, **where))
    for kind, n in (("univariable", 37), ("multivariable", 36)):
        method = "profile penalised likelihood: 16 events for 2 coefficients"
        for group, value in (("age", 1.03), ("child_pugh=B", 2.4)):
            found = Estimate(value, value / 1.5, value * 1.5, method, p=0.04, n=n, n_events=16)
            rows.append(found.row("odds_ratio", group=group, comparator=kind, **where))
    for term in ("age", "child_pugh"):
        rows.append(Estimate(1.12, n=36).row("vif", group=term, comparator="multivariable", **where))
    return rows


def _validate(root: Path, cohort: str, config: dict[str, Any]) -> None:
    values = {"size": 0.58, "clinical": 0.70, "radiomics": 0.79}
    rows = []
    for model, value in values.items():
        where = {"study": "phantom", "endpoint": "response", "cohort": cohort, "model": model}
        count = {"n": SIZES[cohort] - 3, "n_events": 9}
        rows.append(Estimate(value, value - 0.14, value + 0.13, "DeLong", **count).row("auc", **where))
        rows.append(Estimate(value + 0.01, **count).row("auc", repeat=0, **where))
        stamp = "underpowered: 9 events and 12 non-events, fewer than 100 of each; interval of AUC wider than 0.1"
        rows.append(Estimate(0.27, reason=stamp, **count).row("auc_ci_width", **where))
        rows.append(Estimate(1321, **count).row("auc_n_needed", **where))
        rows.append(Estimate(0.2, p=0.65, n=21).row("auc_interaction", group="sex", **where))
        rows.append(
            Estimate(value - 0.05, value - 0.2, value + 0.1, "DeLong", **count).row("auc", group="reader=1", **where)
        )
        rows.append(Estimate(0.2, **count).row("brier", group="recalibrated", **where))
        rows.append(Estimate(0.71, 0.5, 0.86, "Wilson", **count).row("sensitivity", at=0.413, **where))
        rows.append(Estimate(0.66, 0.44, 0.83, "Wilson", **count).row("specificity", at=0.413, **where))
        for name, value in (("tp", 6), ("fp", 3), ("fn", 3), ("tn", 9)):
            cell = undefined("no threshold") if model == "size" else Estimate(value, **count)
            rows.append(cell.row(name, at=0.413, **where))
        rows.append(Estimate(0.21, 0.15, 0.27, "bootstrap", **count).row("brier", **where))
        slope = (
            Estimate(0.88, -0.2, 1.7, "Wald", **count)
            if model != "size"
            else undefined("the scores separate the classes")
        )
        rows.append(slope.row("calibration_slope", **where))
        for group, n in (("sex=F", 9), ("sex=M", 12)):
            rows.append(
                Estimate(value - 0.02, value - 0.3, 0.99, "DeLong", n=n, n_events=4).row("auc", group=group, **where)
            )
    where = {"study": "phantom", "endpoint": "response", "cohort": cohort}
    for model, other, value, p in (("radiomics", "clinical", 0.09, 0.21), ("clinical", "size", 0.12, 0.0004)):
        gap = Estimate(value, value - 0.14, value + 0.14, "DeLong", p=p, n=SIZES[cohort] - 3, n_events=9)
        rows.append(gap.row("auc_difference", model=model, comparator=other, **where))
        holm = Estimate(value, p=min(1, 2 * p), ci_method="Holm over 2 tests")
        rows.append(holm.row("auc_difference_holm", model=model, comparator=other, **where))
    write_table(metrics_table(rows), root / f"validate/{cohort}/metrics.tsv")
    for name in ("roc", "calibration", "decision", "subgroups_size"):
        write_text(root / f"validate/{cohort}/figures/{name}.svg", FIGURE)
    if cohort != "phantom-dev":
        for model in values:
            look = {
                "cohort": cohort,
                "model": model,
                "freeze_digest": "ef" * 32,
                "cohort_digest": "01" * 32,
                "reason": "",
            }
            write_table(pd.DataFrame([look]), root / f"validate/{cohort}/{model}.predictions.looks.tsv")
            parts = _contributions(cohort, config["models"][model]["columns"])
            write_table(parts, root / f"validate/{cohort}/{model}.contributions.tsv")


def _contributions(cohort: str, columns: list[str]) -> pd.DataFrame:
    """Two cases that are scored and one that is not; the n-th predictor moves them by 1 / n, up and down."""
    names = [BASE, *(columns or [f"arterial__original_glcm_feature{i:02d}" for i in range(12)])]
    sizes = [0.4, *(1 / (n + 1) for n in range(len(names) - 1))]
    parts = [
        pd.DataFrame({"subject": subject, "feature": names, "contribution": [0.4, *(sign * v for v in sizes[1:])]})
        for subject, sign in (("E001", 1), ("E002", -1))
    ]
    parts.append(pd.DataFrame({"subject": ["E003"], "reason": ["no features"]}))
    return pd.concat(parts).assign(cohort=cohort, session="", value=1.0).reindex(columns=COLUMNS)


def _survive(root: Path, cohort: str) -> None:
    rows = []
    for endpoint in ("os", "pfs"):
        for model in ("clinical", "radiomics"):
            where = {"study": "phantom", "endpoint": endpoint, "cohort": cohort, "model": model}
            count = {"n": SIZES[cohort] - 3, "n_events": 11}
            rows.append(Estimate(4.2, ci_method="", p=0.0404, **count).row("logrank_chi2", **where))
            rows.append(Estimate(4.2, ci_method="Holm", p=0.0808, **count).row("logrank_holm", **where))
            rows.append(Estimate(0.63, 0.52, 0.74, "jackknife", **count).row("c_harrell", **where))
            high = Estimate(2.1, 1.1, 4.0, "Wald", p=0.04, **count)
            rows.append(high.row("cox_hr", group="high", comparator="low", **where))
            for group, value in (("kind=oof", 0.66), ("kind=frozen", 0.59)) if cohort == "phantom-fup" else ():
                rows.append(Estimate(value, 0.5, 0.7, "jackknife", n=9).row("c_harrell", group=group, **where))
                rows.append(Estimate(1.3, p=0.25, n=9).row("logrank_chi2", group=group, **where))
                rows.append(Estimate(1.3, p=0.5, n=9).row("logrank_holm", group=group, **where))
                for kind in ("low", "univariable"):
                    rows.append(Estimate(1.9, 0.7, 3.1, n=9).row("cox_hr", group=group, comparator=kind, **where))
            for group, value in (("score", 2.3), ("child_pugh=B", 1.4), ("afp_ng_ml", 1.001)):
                hazard = Estimate(value, value / 1.9, value * 1.9, "Wald", p=0.03, **count)
                for kind in ("univariable", "multivariable", *(("clinical",) if group != "score" else ())):
                    rows.append(hazard.row("cox_hr", group=group, comparator=kind, **where))
            for kind in ("univariable", "multivariable"):
                rows.append(
                    Estimate(1.6, 1.1, 2.3, "Wald", p=0.03).row("cox_hr_sd", group="score", comparator=kind, **where)
                )
            for group, value in (("score", 1.25), ("child_pugh", 1.04), ("afp_ng_ml", 1.31)):
                rows.append(Estimate(value).row("vif", group=group, comparator="multivariable", **where))
            rows.append(Estimate(3.2, p=0.0718, **count).row("cox_added_chi2", comparator="clinical", **where))
            for group in ("score", "child_pugh", "GLOBAL"):
                test = Estimate(0.6, p=0.44, **count)
                for kind in ("multivariable", "multivariable, rank", "clinical"):
                    rows.append(test.row("zph_chi2", group=group, comparator=kind, **where))
            for group in ("high", "low"):
                rows.append(
                    Estimate(0.6, 0.4, 0.8, "log-log", **count).row("km_survival", group=group, at=365, **where)
                )
                rows.append(undefined("the curve stays above 0.5").row("km_median", group=group, **where))
    write_table(metrics_table(rows), root / f"survive/{cohort}/metrics.tsv")
    for endpoint in ("os", "pfs"):
        for kind in ("km", "spline"):
            write_text(root / f"survive/{cohort}/figures/{kind}_{endpoint}_radiomics.svg", FIGURE)
