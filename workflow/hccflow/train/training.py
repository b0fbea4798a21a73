"""Nested cross-validation over the study's split, the final fit, the cut-offs, and the freeze."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import LeakageError
from hccflow.freeze import freeze, split_digest
from hccflow.ids import ScoreKind, Status
from hccflow.models.encoding import KEYS, Encoding, make_encoding
from hccflow.models.fold import FITS, Development, Fold, refuse_other_roles
from hccflow.models.parameters import check_learner
from hccflow.models.registry import Writable, fit_model
from hccflow.models.targets import SURVIVAL, Target, read_target
from hccflow.provenance import code_digest, digest_of, versions
from hccflow.references import check_available
from hccflow.scores import outcome, score_table
from hccflow.tables import subjects_digest, write_table
from hccflow.train.cuts import Cut, learn_survival_cut, learn_threshold

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "pandas", "scipy", "scikit-learn", "xgboost-cpu")


@dataclass(frozen=True)
class Training:
    """Everything that training a model gives, not yet written."""

    model: Writable
    predictions: pd.DataFrame
    fits: pd.DataFrame
    selection: pd.DataFrame
    manifest: pd.DataFrame
    threshold: Cut
    survival_cut: Cut
    facts: Mapping[str, Any]


def train(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    features: pd.DataFrame | None = None,
    outlines: Mapping[str, pd.DataFrame] | None = None,
) -> Training:
    """Train one model on the development cohorts.

    Parameters
    ----------
    name : str
        Model, a key of ``settings["models"]``.
    settings : mapping
        ``study, seed`` and the sections ``endpoints, columns, models, survive``.
    subjects : pandas.DataFrame
        Rows of the development cohorts, typed (`read_subjects`).
    split : pandas.DataFrame
        ``cohort, subject, role, repeat, fold``; rows of the role ``test`` teach nothing and are not scored.
    features : pandas.DataFrame, optional
        Features of the model's region of interest.
    outlines : mapping, optional
        Features of the regions that ``select.stable`` names, by region.

    Returns
    -------
    Training

    Raises
    ------
    LeakageError
        A cohort of another role, or a predictor that is known only after the landmark.
    FitError
        A training fold has one class, or a learner does not converge.
    """
    spec = settings["models"][name]
    check_learner(spec, f"models.{name}")
    rows, encoding = development(name, settings, subjects, split, features, outlines=outlines)
    judged, chosen = [], []
    for fold, places, held_x in rows.folds():
        model = fit_model(fold, spec, encoding)
        log.info("%s: %s trained on %d rows, %d predictors used", name, fold.where, len(fold.y), len(model.selected))
        chosen.append(model.selected)
        judged.append(judge(rows, fold, places, {spec["endpoint"]: model.score(held_x)}))
    final_fold = rows.all()
    final = fit_model(final_fold, spec, encoding)
    log.info("%s: final model trained on %d rows, %d predictors used", name, len(final_fold.y), len(final.selected))
    scores = pd.concat(judged, ignore_index=True)
    return conclude(
        name, settings, split, rows, scores, final, final_fold, _selection(encoding.names, chosen, final.selected),
        code=code_digest("train"), libraries=LIBRARIES,
    )  # fmt: skip


def development(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    features: pd.DataFrame | None = None,
    *,
    endpoints: Sequence[str] = (),
    outlines: Mapping[str, pd.DataFrame] | None = None,
) -> tuple[Development, Encoding]:
    """Training rows of a model, with the predictors that its entry in the configuration names; see `train`.

    `endpoints` are all that it learns, its own first, where it learns more than its own.
    """
    refuse_other_roles(subjects)
    spec, where = settings["models"][name], f"models.{name}"
    learnt = {endpoint: settings["endpoints"][endpoint] for endpoint in endpoints or [spec["endpoint"]]}
    for endpoint in learnt.values():
        for column in spec.get("columns", ()):
            check_available(column, settings["columns"], endpoint, f"{where}.columns")
    _refuse_outcomes(features, settings, where)
    encoding = make_encoding(spec, settings["columns"], features, where=where)
    subjects = subjects.reset_index(drop=True)
    x, scorable = encoding.encode(subjects, features)
    targets = {endpoint: read_target(subjects, endpoint, about) for endpoint, about in learnt.items()}
    others = {
        roi: encoding.elsewhere(subjects, (outlines or {}).get(roi), f"{where}.select.stable.rois: {roi}")
        for roi in spec.get("select", {}).get("stable", {}).get("rois", ())
    }
    rows = Development(
        subjects, split, x, scorable=scorable, targets=targets, seed=settings["seed"], outlines=others
    )  # fmt: skip
    return rows, encoding


def _refuse_outcomes(features: pd.DataFrame | None, settings: Mapping[str, Any], where: str) -> None:
    """Refuse a feature that is a column of the study in disguise: features carry no word on when they are known."""
    known = {*settings["columns"], *settings["endpoints"]}
    known |= {f"{name}_{part}" for name in settings["endpoints"] for part in ("time_days", "event", "entry_days")}
    taken = sorted(known & set(() if features is None else features.columns))
    if taken:
        raise LeakageError(
            f"feature '{taken[0]}' has the name of a column or endpoint of the study", where=f"{where}.roi",
            expected="features of images only", todo="remove it from the feature table, or name it under columns",
        )  # fmt: skip


def judge(rows: Development, fold: Fold, places: np.ndarray, scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Out-of-fold scores of the rows at `places`, for every endpoint of `scores`."""
    keys = rows.rows.loc[places, KEYS].assign(repeat=fold.repeat, fold=fold.fold, place=places)
    parts = [keys.assign(endpoint=e, **outcome(rows.targets[e].take(places), values)) for e, values in scores.items()]
    return pd.concat(parts, ignore_index=True)


def placed(scores: pd.DataFrame, rows: Development) -> pd.DataFrame:
    """Scores that were read from a file, with the places of their rows, as `judge` gives them."""
    places = pd.Series(np.arange(len(rows.rows)), index=pd.MultiIndex.from_frame(rows.rows[KEYS]))
    return scores.assign(place=places.reindex(pd.MultiIndex.from_frame(scores[KEYS])).to_numpy())


def conclude(
    name: str,
    settings: Mapping[str, Any],
    split: pd.DataFrame,
    rows: Development,
    scores: pd.DataFrame,
    final: Writable,
    final_fold: Fold,
    selection: pd.DataFrame,
    *,
    code: str,
    libraries: Sequence[str],
    more: Mapping[str, Any] | None = None,
    deciding: pd.DataFrame | None = None,
) -> Training:
    """Learn the cut-offs from the out-of-fold scores and put together what is frozen, for a model of any kind.

    Parameters
    ----------
    name, settings, split
        See `train`.
    rows : Development
    scores : pandas.DataFrame
        Tables of `judge`, all folds.
    final, final_fold
        The final model and the rows that it has seen.
    selection : pandas.DataFrame
        ``feature, frequency, in_final_model``.
    code : str
        Digest of the code that trained.
    libraries : sequence of str
        Distributions whose versions are frozen.
    more : mapping, optional
        Facts of this kind of model.
    deciding : pandas.DataFrame, optional
        Scores, like `scores`, from which the cut-offs are learnt: those of the model that is frozen, where the rows are
        judged by others too.
    """
    spec = settings["models"][name]
    known = scores if deciding is None else deciding
    cuts = {endpoint: _cuts(endpoint, settings, spec, rows, known, final_fold) for endpoint in rows.targets}
    threshold, cut, own = cuts[spec["endpoint"]]
    facts = {
        "study": settings["study"], "model": name, "kind": spec["kind"], "endpoint": spec["endpoint"],
        "threshold": threshold.to_json(), "survival_cut": cut.to_json(),
        "training": {
            **_counted(own), "cohorts": sorted(set(rows.rows["cohort"])),
            "subjects_digest": subjects_digest(list(final_fold.subjects)),
        },
        "heads": {
            endpoint: {
                "threshold": t.to_json(), "survival_cut": c.to_json(), **_counted(part),
                "survival": rows.targets[endpoint].survival,
            }
            for endpoint, (t, c, part) in cuts.items()
        },
        "code_digest": code, "settings_digest": digest_of(settings), "split_digest": split_digest(split),
        "versions": versions(libraries), **(more or {}),
    }  # fmt: skip
    fixed = {"study": settings["study"], "model": name, "kind": ScoreKind.OOF.value}
    frozen = scores["endpoint"].map({endpoint: t.value for endpoint, (t, _, _) in cuts.items()})
    return Training(
        final,
        score_table(scores.assign(**fixed, threshold=frozen)),
        pd.DataFrame(rows.log, columns=FITS).astype({"repeat": "Int64", "fold": "Int64"}),
        selection,
        _manifest(rows),
        threshold,
        cut,
        facts,
    )


def _counted(fold: Fold) -> dict[str, int]:
    """Subjects and events: scans of one subject are no more of either."""
    labels = fold.labels
    return {"n": len(labels), "n_events": int(labels.sum())}


def _cuts(
    endpoint: str,
    settings: Mapping[str, Any],
    spec: Mapping[str, Any],
    rows: Development,
    scores: pd.DataFrame,
    final_fold: Fold,
) -> tuple[Cut, Cut, Fold]:
    """Operating point and survival cut for one endpoint, and the rows that have taught it.

    A survival endpoint has no operating point, and its cut is of the risk, by its own follow-up.
    """
    target, rule = rows.targets[endpoint], settings.get("survive", {})
    known = rows.train & rows.scorable & target.known
    step = "" if endpoint == spec["endpoint"] else f".{endpoint}"
    fold = final_fold.known(endpoint)
    column = "risk" if target.survival else "y_prob"
    own = scores[scores["endpoint"] == endpoint]
    mean = own.groupby("place")[column].mean().reindex(np.flatnonzero(known)).to_numpy(float)
    threshold = Cut(None, "none", "a survival endpoint has no operating point")
    if not target.survival:
        threshold = fold.fit(f"threshold{step}", learn_threshold, mean, spec.get("threshold", "youden"))
    follow_up = target.take(known) if target.survival else _follow_up(rows.rows[known], rule.get("endpoints", []))
    times, events = (None, None) if follow_up is None else (follow_up.days, follow_up.y)
    cut = fold.fit(f"survival_cut{step}", learn_survival_cut, mean, rule.get("cut", "median"), times, events)
    return threshold, cut, fold


def write_training(training: Training, folder: Path) -> dict[str, Any]:
    """Write a training folder, ``freeze.json`` last, and return what was frozen."""
    part = folder / ".model.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    training.model.save(part)
    shutil.rmtree(folder / "model", ignore_errors=True)
    part.replace(folder / "model")
    write_table(training.predictions, folder / "predictions.tsv")
    write_table(training.fits, folder / "fits.tsv")
    write_table(training.selection, folder / "selection.tsv")
    write_table(training.manifest, folder / "manifest.tsv")
    return freeze(folder, training.facts)


def _follow_up(rows: pd.DataFrame, endpoints: Sequence[str]) -> Target | None:
    """Follow-up of the first survival endpoint."""
    if not endpoints or f"{endpoints[0]}_time_days" not in rows:
        return None
    return read_target(rows, endpoints[0], {"kind": SURVIVAL})


def _selection(names: Sequence[str], chosen: Sequence[Sequence[str]], final: Sequence[str]) -> pd.DataFrame:
    """How often each predictor was used over the folds, and whether the final model uses it."""
    every = [*names, *sorted({n for used in [*chosen, final] for n in used} - set(names))]
    rows = [(n, sum(n in used for used in chosen) / len(chosen), int(n in final)) for n in every]
    table = pd.DataFrame(rows, columns=["feature", "frequency", "in_final_model"])
    return table.sort_values(["frequency", "feature"], ascending=[False, True], kind="stable").reset_index(drop=True)


def _manifest(rows: Development) -> pd.DataFrame:
    """A row for every development case: taught, or why not."""
    known = np.any([target.known for target in rows.targets.values()], axis=0)
    reason = np.select(
        [~rows.train, ~rows.scorable, ~known],
        ["internal test set", rows.reasons, "endpoint unknown: scored, but teaches nothing"],
        default="",
    )
    status = np.select(
        [~rows.train, ~rows.scorable, ~known],
        [Status.EXCLUDED.value, Status.FAILED.value, Status.EXCLUDED.value],
        default=Status.OK.value,
    )
    table = rows.rows[KEYS].assign(status=status, reason=reason)
    return table.sort_values(KEYS, kind="stable").reset_index(drop=True)
