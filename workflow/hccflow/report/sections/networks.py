"""How the networks were trained, what the second task gives, how well they segment, and what they looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.figures.plane import curves
from hccflow.models.encoding import KEYS
from hccflow.networks.architectures import option
from hccflow.networks.heads import SEGMENTATION, named_tasks
from hccflow.paths import case_file
from hccflow.report.page import DASH, Block, Callout, Cell, Figure, Gallery, Row, Section, Table, Text
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.images import picture_uri
from hccflow.report.sections.segment import KINDS, quartiles
from hccflow.report.sections.twins import comparison, twins
from hccflow.report.words import caption, hardware, missing, number
from hccflow.variants import entry_of

METHODS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
#: What a Dice is held against, by the source of the crop's region.
AGAINST = {"reference": "reference masks", "nnunet": "nnU-Net's masks"}
CHOSEN = ("worst", "median", "best")


def build(results: Results) -> Section:
    """Section with training, the single-task ablation and class activation maps."""
    bases = {name: entry_of(spec, results.settings) for name, spec in results.settings["models"].items()}
    made = {
        n: base for n, base in bases.items() if base.get("kind") == "network" and results.path(f"train/{n}/freeze.json")
    }
    trained = [name for name in made if "network" in results.settings["models"][name]]
    if not made:
        return Section("networks", "Networks", [Callout("absent", "No networks", caption("networks_none"))])
    blocks: list[Block] = [_training(results, trained)] if trained else []
    blocks += [figure for name in trained if (figure := _curves(results, name))]
    pairs = twins(results, _but_segmentation, lambda m: "first" if SEGMENTATION in _tasks(m) else "second")
    if pairs:
        blocks.append(comparison(results, "network_tasks", pairs, "Two tasks", "Response alone"))
    blocks += _segmentation(results, made)
    for name in made:
        blocks += _maps(results, name)
    return Section("networks", "Networks", blocks)


def _tasks(model: Mapping[str, Any]) -> Mapping[str, Any]:
    return named_tasks(model) if "network" in model else {}


def _but_segmentation(model: Mapping[str, Any]) -> dict[str, Any] | None:
    """What makes a network besides the weight of its second task; None for another kind of model."""
    if model.get("kind") != "network":
        return None
    network = {key: value for key, value in model["network"].items() if key != "tasks"}
    rest = {key: value for key, value in model.items() if key not in ("label", "network")}
    return {**rest, "network": network, "tasks": {k: v for k, v in _tasks(model).items() if k != SEGMENTATION}}


def _training(results: Results, models: list[str]) -> Table:
    rows = []
    for name in models:
        spec = results.settings["models"][name]["network"]
        freeze = results.document(f"train/{name}/freeze.json") or {}
        facts = _folds(results, name)
        epochs = sorted(epoch for fact in facts for epoch in fact["best_epochs"])
        span = f"{np.median(epochs):g} ({epochs[0]} to {epochs[-1]})" if epochs else DASH
        one = spec["seeds"] == 1 or not facts
        sd = Cell(DASH, "one seed has no spread") if one else Cell(_spread(freeze["seed_sd"], facts))
        learnt = freeze.get("task_weights") if spec.get("weighting") == "uncertainty" else None
        tasks = ", ".join(_task(*item, learnt) for item in _tasks(results.settings["models"][name]).items())
        cells = [
            Cell(_network(spec, freeze)),
            Cell(tasks),
            Cell(f"{len(facts)} \N{MULTIPLICATION SIGN} {spec['seeds']}"),
        ]
        final = Cell(f"{freeze['epochs']}") if "epochs" in freeze else Cell(DASH)
        rows.append(Row([Cell(results.label("models", name), strong=True), *cells, Cell(span), final, sd]))
    columns = [
        "Model", "Network", "Tasks and weights", "Folds and seeds", "Best epoch, median (range)", "Final epochs",
        "SD between seeds, mean (folds)",
    ]  # fmt: skip
    sources = [f"train/{name}/{file}" for name in models for file in ("freeze.json", "fold-*/fold.json")]
    return Table("networks", caption("networks"), columns, rows, sources, text_columns=columns[1:3])


def _network(spec: Mapping[str, Any], freeze: Mapping[str, Any]) -> str:
    """Architecture, dimensions, the weights with which training began, and where it was trained."""
    began = freeze.get("initial_weights", "weights unknown")
    weights = began if isinstance(began, str) else f"from {began['file']} ({began['licence']})"
    return f"{spec['architecture']}, {option(spec, 'dims'):g}D, {weights}, trained on {hardware(freeze)}"


def _task(name: str, task: Mapping[str, Any], learnt: Mapping[str, float] | None) -> str:
    """A task with its loss, where one was chosen, and its weight; a learnt one is that of the last epoch."""
    loss = f" ({task['loss']})" if "loss" in task else ""
    return f"{name}{loss} {task['weight']:g}" if learnt is None else f"{name}{loss} {learnt[name]:.2g} (learnt)"


def _spread(mean: Mapping[str, float], facts: Sequence[Mapping[str, Any]]) -> str:
    """SD between seeds of each head: of all folds, and the smallest and largest of a fold."""
    texts = []
    for head, value in mean.items():
        folds = [sd for fact in facts if (sd := fact["seed_sd"][head]) is not None]  # None: no case to score
        text = f"{number(value, 3)} ({number(min(folds), 3)} to {number(max(folds), 3)})"
        texts.append(text if len(mean) == 1 else f"{head} {text}")
    return "; ".join(texts)


def _folds(results: Results, model: str) -> list[dict[str, Any]]:
    """Facts of every fold of a network that the study has; a folder may be left over from one with more."""
    split = results.settings["split"]
    places = [f"{repeat}-{fold}" for repeat in range(split["repeats"]) for fold in range(split["folds"])]
    found = (results.document(f"train/{model}/fold-{place}/fold.json") for place in places)
    return [fact for fact in found if fact is not None]


def _curves(results: Results, model: str) -> Figure | None:
    """Losses of the model's endpoint over epochs in every fold and seed, and where each network stopped."""
    source = f"train/{model}/history.tsv"
    table = results.table(source)
    endpoint = results.settings["models"][model]["endpoint"]
    train, stop = f"train_{endpoint}", f"stop_{endpoint}"
    if table is None or stop not in table or table[stop].isna().all():
        return None
    table = table[table[stop].notna()]
    lines: dict[str, list[list[tuple[float, float]]]] = {train: [], stop: []}
    marks = []
    best: dict[tuple[int, ...], int] = {
        (fact["repeat"], fact["fold"], seed): epoch
        for fact in _folds(results, model)
        for seed, epoch in enumerate(fact["best_epochs"])
    }
    for key, part in table.groupby(["repeat", "fold", "seed"]):
        part = part.sort_values("epoch")
        for name, found in lines.items():
            found.append([(float(x), float(y)) for x, y in part[["epoch", name]].to_numpy()])
        kept = best.get(tuple(int(v) for v in np.asarray(key)))
        at = part[part["epoch"] == kept][["epoch", stop]]
        marks += [(float(x), float(y)) for x, y in at.to_numpy()]
    label, learnt = results.label("models", model), results.label("endpoints", endpoint)
    alt = f"Loss of {learnt} by epoch of {len(lines[stop])} trainings of {label}"
    named = [
        ("on training subjects, augmented", lines[train]),
        ("on stopping subjects", lines[stop]),
    ]
    svg = curves(named, marks, "Epoch", f"Loss of {learnt}", "weights that were kept", alt=alt)
    return Figure(caption("network_curves", model=label), alt, [source], svg=svg)


def _segmentation(results: Results, models: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """Held-out Dice of the models that learn to segment, by cohort and kind; nothing where none does."""
    rows: list[Row] = []
    sources: list[str] = []
    for model, base in models.items():
        names = [f"train/{model}/dice.tsv", *(f"validate/{cohort}/{model}.dice.tsv" for cohort in results.cohorts)]
        found = {name: table for name in names if (table := results.table(name, "dice")) is not None and len(table)}
        if not found:
            continue
        sources += found
        crop = results.settings["crops"][base["network"]["crop"]]
        against = AGAINST[results.settings["extract"]["rois"][crop["roi"]]["source"]]
        rows.append(Row([Cell(f"{results.label('models', model)}, against {against}")], heading=True))
        cases = pd.concat([table.drop_duplicates(KEYS) for table in found.values()])
        for cohort in results.cohorts:
            who = f"{results.cohort_name(cohort)} ({results.role_word(cohort)})"
            for kind, word in KINDS.items():
                part = cases[(cases["cohort"] == cohort) & (cases["kind"] == kind)]
                if len(part):
                    cells = [
                        Cell(who), Cell(word), Cell(f"{len(part)}"), quartiles(part["dice"].dropna(), 3, len(part)),
                        Cell(number(part["dice"].min(), 3)), Cell(f"{int((part['n_predicted'] == 0).sum())}"),
                    ]  # fmt: skip
                    rows.append(Row(cells))
    if not rows:
        return []
    columns = ["Cohort", "Networks", "n", "Dice on the crop, median [quartiles]", "Smallest Dice", "Empty"]
    return [Table("networks_dice", caption("networks_dice"), columns, rows, sources, text_columns=("Networks",))]


def _maps(results: Results, model: str) -> list[Block]:
    """Maps of one network: how much of each lies in the region, what random weights give, and the pictures."""
    rows: list[Row] = []
    sources: list[str] = []
    galleries: list[Block] = []
    label = results.label("models", model)
    for cohort in results.cohorts:
        source = f"validate/{cohort}/{model}.cam/cam.tsv"
        table = results.table(source)
        if table is None or table.empty:
            continue
        sources.append(source)
        rows.append(Row([Cell(f"{results.cohort_name(cohort)} ({results.role_word(cohort)})")], heading=True))
        shown: list[Figure] = []
        for chosen, cases in ordered(table):
            for case in cases:
                rows += _map_rows(results, chosen, case)
            middle = len(cases) // 2 if chosen == "median" else 0
            shown += [
                figure for case in cases[middle : middle + 1] for figure in _picture(results, source, chosen, case[0])
            ]
        if shown:
            words = caption("network_pictures", model=label, cohort=results.cohort_name(cohort))
            galleries += [Text(words), Gallery(shown)]
    if not rows:
        return []
    inside = [f"{name}: in region" for name in METHODS.values()]
    random = [f"{name}: random weights" for name in METHODS.values()]
    columns = ["Case", "Chosen as", "Outcome", "Score", "Explains", *inside, "Chance", *random]
    texts = ("Chosen as", "Outcome", "Score", "Explains")
    maps = Table(f"maps_{model}", caption("network_maps", model=label), columns, rows, sources, texts, len(rows) > 12)
    return [maps, *galleries]


def ordered(table: pd.DataFrame) -> list[tuple[str, list[list[dict[str, Any]]]]]:
    """Rows of the worst, the median and the best cases, case by case; the most extreme first."""
    table = table.fillna({"session": "", "reason": ""})
    table = table.sort_values(["error", "subject", "session"], kind="stable", ascending=[False, True, True])
    found = []
    for chosen in CHOSEN:
        part = table[table["chosen"] == chosen]
        cases = [records(rows) for _, rows in groups(part, ["subject", "session"])]
        found.append((chosen, cases[::-1] if chosen == "best" else cases))
    return found


def _map_rows(results: Results, chosen: str, case: list[dict[str, Any]]) -> list[Row]:
    """One case: what it was chosen as, its score, and both maps of each endpoint."""
    rows, first = [], case[0]
    for endpoint in dict.fromkeys(row["endpoint"] for row in case):
        one = {row["method"]: row for row in case if row["endpoint"] == endpoint}
        some = next(iter(one.values()))
        told = f"{results.label('endpoints', endpoint)}: {some['explains']}"
        outcome, score = _answer(first)
        cells = [Cell(_who(first)), Cell(chosen), Cell(outcome), Cell(score), Cell(told)]
        cells += [_share(one.get(method), "energy_in_mask") for method in METHODS]
        cells += [Cell(number(some["mask_fraction"]))]
        rows.append(Row([*cells, *(_share(one.get(method), "randomised_correlation") for method in METHODS)]))
    return rows


def _answer(row: Mapping[str, Any]) -> tuple[str, str]:
    """Outcome and score of a case for the model's own endpoint, in words."""
    if missing(row.get("y_prob")):
        what = "event" if row["event"] == 1 else "no event"
        return f"{what}, day {row['time_days']:.0f}", f"risk {number(row['risk'])}"
    return f"label {int(row['y_true'])}", f"probability {number(row['y_prob'])}"


def _who(row: Mapping[str, Any]) -> str:
    return f"{row['subject']}, {row['session']}" if row["session"] else str(row["subject"])


def _share(row: Mapping[str, Any] | None, column: str) -> Cell:
    if row is None:
        return Cell(DASH, "this map was not made")
    return Cell(DASH, str(row["reason"])) if missing(row[column]) else Cell(number(row[column]))


def _picture(results: Results, table: str, chosen: str, row: Mapping[str, Any]) -> list[Figure]:
    """Picture beside a table of maps; none when it is not there."""
    source = (
        f"{table.rsplit('/', 1)[0]}/{case_file(row['subject'], row['session'], 'cam', desc=chosen, ext='.png').name}"
    )
    path = results.path(source)
    if path is None:
        return []
    text = f"{chosen.capitalize()}: {_who(row)}, {', '.join(_answer(row))}."
    alt = f"Crop of {_who(row)} with class activation maps"
    return [Figure(text, alt, [source], uri=picture_uri(path))]
