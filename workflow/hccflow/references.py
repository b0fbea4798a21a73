"""Cross-references of a configuration: every name that one part uses must be declared by another."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from hccflow.errors import ConfigError, LeakageError
from hccflow.ids import CLINICAL_COX, CohortRole
from hccflow.lesions import is_read
from hccflow.models.parameters import check_keys, check_learner, default_of
from hccflow.networks.heads import tasks_of
from hccflow.networks.options import check_crop, check_network, check_size
from hccflow.tables import load_schema
from hccflow.variants import JOIN, Variant, candidates, entry_of, expand

#: Where an imaging signature may come from.
SIGNATURES = ("model", "roi", "network", "table")


def _known(name: str, known: Mapping[str, Any] | list[str], what: str, where: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, list(known), n=1)
    raise ConfigError(
        f"unknown {what} '{name}'",
        where=where,
        expected=", ".join(known) or f"a declared {what}",
        todo=f"did you mean '{near[0]}'?" if near else None,
    )


def check_references(config: dict[str, Any]) -> None:
    """Every name that one part of the configuration uses must be declared by another."""
    cohorts, columns, endpoints, models = (config[k] for k in ("cohorts", "columns", "endpoints", "models"))
    roles = {name: spec["role"] for name, spec in cohorts.items()}
    if CohortRole.DEVELOPMENT not in roles.values():
        raise ConfigError("no development cohort", where="config.cohorts", todo="give one cohort the role development")
    for name, spec in cohorts.items():
        if "subset_of" in spec:
            where = f"config.cohorts.{name}.subset_of"
            _known(spec["subset_of"], [c for c, r in roles.items() if r == "development"], "development cohort", where)
    for name, column in columns.items():
        if column["kind"] == "category" and "levels" not in column:
            raise ConfigError(
                "a category needs its levels", where=f"config.columns.{name}", todo="list them under levels"
            )
    for name, spec in endpoints.items():
        _check_endpoint(name, spec, columns, endpoints)
    for index, rule in enumerate(config["eligibility"]):
        where = f"config.eligibility[{index}]"
        kinds = [k for k in ("column", "images", "endpoint") if k in rule]
        if len(kinds) != 1:
            raise ConfigError(
                "a rule tests one thing", where=where, expected="one of column, images, endpoint", found=kinds
            )
        if "column" in rule:
            _known(rule["column"], columns, "column", where)
            _check_values(rule, columns[rule["column"]], where)
        if "endpoint" in rule:
            _known(rule["endpoint"], endpoints, "endpoint", where)
        for name in rule.get("images", ()):
            imaging = config.get("imaging", {"channels": [], "masks": []})
            _known(name, [*imaging["channels"], *imaging["masks"]], "channel or mask", where)
    for name in config["split"]["stratify"]:
        _known(name, ["site", *columns, *endpoints], "column or endpoint", "config.split.stratify")
    for name, only in (("repeats", 1), ("test_fraction", 0)):
        if config["split"]["by"] == "site" and config["split"][name] != only:
            raise ConfigError(
                "sites can be left out in one way only", where=f"config.split.{name}", expected=f"{only} with by: site",
                found=config["split"][name],
            )  # fmt: skip
    _check_segment(config)
    _check_imaging(config)
    _check_crops(config)
    for name, model in models.items():
        if JOIN in name:
            raise ConfigError("two underscores are kept for variants", where=f"config.models.{name}", todo="rename it")
        _check_model(name, model, config, f"config.models.{name}")
    _check_results(config)
    _check_relate(config)


def _check_values(rule: Mapping[str, Any], column: Mapping[str, Any], where: str) -> None:
    """A rule must be one that the column's values can pass: else it would put everybody out without a word."""
    if column["kind"] == "category":
        for value in rule.get("in", ()):
            _known(str(value), [str(level) for level in column["levels"]], "level", f"{where}.in")
        for key in ("at_least", "at_most"):
            if key in rule:
                raise ConfigError(f"'{key}' needs a number", where=where, found=f"category {rule['column']}",
                                  todo="list the allowed levels under in")  # fmt: skip


def _check_crops(config: dict[str, Any]) -> None:
    for name, box in config["crops"].items():
        where = f"config.crops.{name}"
        _known(box["roi"], config["extract"]["rois"], "ROI", f"{where}.roi")
        if config["extract"]["rois"][box["roi"]]["source"] == "table":
            raise ConfigError("a table has no images to crop", where=f"{where}.roi", found=box["roi"])
        if "around" in box:
            _known(box["around"], config.get("imaging", {}).get("masks", []), "mask", f"{where}.around")
        check_crop(box, where)


def check_variants(config: dict[str, Any], variants: Mapping[str, Variant]) -> None:
    """Every variant is held to what a declared model is held to, and a sweep may judge only where judging is a look."""
    for sweep, spec in config["experiment"].items():
        if config["models"][spec["of"]]["kind"] == "choice":
            raise ConfigError("a choice has no variants", where=f"config.experiment.{sweep}.of", found=spec["of"])
        judging = [name for name, cohort in config["cohorts"].items() if cohort["role"] != CohortRole.DEVELOPMENT]
        for name in spec["cohorts"]:
            _known(name, judging, "external or follow-up cohort", f"config.experiment.{sweep}.cohorts")
    for name, variant in variants.items():
        where = f"config.experiment.{variant.sweep}: {name}"
        for key in ("kind", "endpoint"):
            if variant.spec[key] != config["models"][variant.base][key]:
                raise ConfigError(f"a variant keeps the {key} of its base", where=where, found=variant.spec[key])
        _check_model(name, dict(variant.spec), config, where)


def _check_choice(model: dict[str, Any], config: dict[str, Any], where: str) -> None:
    sweep = model["choose"]["among"]
    _known(sweep, config["experiment"], "sweep of experiment", f"{where}.choose.among")
    made = expand(config)
    entries = {name: made[name].spec if name in made else config["models"][name] for name in candidates(config, sweep)}
    for name, entry in entries.items():
        if entry["kind"] not in ("tabular", "network"):
            raise ConfigError("only tabular models and networks can be chosen among", where=where, found=name)
        if entry["endpoint"] != model["endpoint"]:
            raise ConfigError("a candidate learns another endpoint", where=where, found=f"{name}: {entry['endpoint']}")
    sources = {name: (entry.get("roi"), entry.get("network", {}).get("crop")) for name, entry in entries.items()}
    if len(set(sources.values())) > 1:
        raise ConfigError(
            "the candidates of a choice see one region and one crop", where=where,
            found=sorted(map(str, sources.values())),
            todo="leave roi and network.crop out of this sweep; compare them in another one",
        )  # fmt: skip


def _check_model(name: str, model: dict[str, Any], config: dict[str, Any], where: str) -> None:
    columns, endpoints = config["columns"], config["endpoints"]
    if name == CLINICAL_COX:
        raise ConfigError(f"'{name}' is the name of the Cox model that survive makes", where=where, todo="rename it")
    check_keys(model, where)
    _known(model["endpoint"], endpoints, "endpoint", f"{where}.endpoint")
    if endpoints[model["endpoint"]]["kind"] != "binary" and model["kind"] != "network":
        raise ConfigError(
            "a classifier learns a binary endpoint", where=f"{where}.endpoint", found=model["endpoint"],
            todo="a model of kind network can learn a survival endpoint",
        )  # fmt: skip
    for column in model["columns"]:
        _known(column, columns, "column", f"{where}.columns")
        check_available(column, columns, endpoints[model["endpoint"]], f"{where}.columns")
    if model["kind"] == "network":
        _known(model["network"]["crop"], config["crops"], "crop", f"{where}.network.crop")
        for channel in model["network"].get("channels", ()):
            _known(channel, config.get("imaging", {}).get("channels", []), "channel", f"{where}.network.channels")
        check_network(model, endpoints, where)
        box = config["crops"][model["network"]["crop"]]
        check_size(model["network"], box["size"], f"config.crops.{model['network']['crop']}.size, for {name}")
        for endpoint in tasks_of(model, endpoints).heads:
            for column in model["columns"]:
                check_available(column, columns, endpoints[endpoint], f"{where}.columns")
    elif model["kind"] == "choice":
        _check_choice(model, config, where)
    elif model["kind"] == "fusion":
        _check_fusion(name, model, config["models"])
        check_learner(model, where)
    else:
        if "roi" in model:
            _known(model["roi"], config["extract"]["rois"], "ROI", f"{where}.roi")
        elif not model["columns"]:
            raise ConfigError("a model needs predictors", where=where, expected="columns, or roi, or both")
        elif model["features"] != default_of("features"):
            raise ConfigError("'features' chooses among those of a region", where=where, todo="give roi, or remove it")
        _check_stable(model, config["extract"]["rois"], f"{where}.select.stable")
        check_learner(model, where)


def _check_stable(model: dict[str, Any], rois: Mapping[str, Any], where: str) -> None:
    """Stability is judged by other regions than the model's own, with which it would agree entirely."""
    stable = model["select"].get("stable")
    if stable and "roi" not in model:
        raise ConfigError("'stable' judges the features of a region", where=where, todo="give roi, or remove it")
    for roi in stable["rois"] if stable else ():
        _known(roi, rois, "ROI", f"{where}.rois")
        if roi == model["roi"]:
            raise ConfigError(
                "a region always agrees with itself", where=f"{where}.rois", expected="other regions than the model's",
                found=roi, todo="name another outline of the same structure",
            )  # fmt: skip


def _check_fusion(name: str, model: dict[str, Any], models: dict[str, Any]) -> None:
    where = f"config.models.{name}.inputs"
    for one in model["inputs"]:
        _known(one, models, "model", where)
        if models[one]["kind"] == "fusion":
            raise ConfigError("a fusion of fusions has no unseen scores to learn from", where=where, found=one)
        if models[one]["endpoint"] != model["endpoint"]:
            raise ConfigError(
                "an input learns another endpoint", where=where, expected=model["endpoint"],
                found=models[one]["endpoint"],
            )  # fmt: skip


def _check_endpoint(name: str, spec: dict[str, Any], columns: dict[str, Any], endpoints: dict[str, Any]) -> None:
    where = f"config.endpoints.{name}"
    needs = {"survival": ["time", "event"]}.get(spec["kind"]) or {
        "column": ["column"],
        "horizon": ["of", "horizon_days"],
    }.get(spec["source"], ["positive"])
    for key in needs:
        if key not in spec:
            raise ConfigError(f"'{key}' is missing", where=where, todo="see docs/config.md, endpoints")
    for key in ("column", "time", "event", "entry"):
        if key in spec:
            _known(spec[key], columns, "column", f"{where}.{key}")
    if "readers_blinded" in spec and not is_read(spec):
        raise ConfigError(
            "nobody reads this endpoint", where=f"{where}.readers_blinded", todo="remove readers_blinded",
            expected="a binary endpoint of source column, mrecist, recist or easl",
            found=f"kind {spec['kind']}" + (", source horizon" if spec["kind"] == "binary" else ""),
        )  # fmt: skip
    if spec.get("source", "column") == "column" and columns.get(spec.get("column", ""), {}).get("kind") == "category":
        for value in spec.get("positive", ()):
            _known(value, columns[spec["column"]]["levels"], "level", f"{where}.positive")
    if "of" in spec:
        _known(
            spec["of"], [e for e, s in endpoints.items() if s["kind"] == "survival"], "survival endpoint", f"{where}.of"
        )


def check_available(column: str, columns: Mapping[str, Any], endpoint: Mapping[str, Any], where: str) -> None:
    """Refuse a predictor that is known only after the endpoint's landmark."""
    when, landmark = columns[column]["available_at"], endpoint["landmark_days"]
    if when == "baseline" or (when != "outcome" and float(when) <= landmark):
        return
    known = "with the outcome, after the index date" if when == "outcome" else f"{when} days after the index date"
    raise LeakageError(
        f"predictor '{column}' is available only {known}",
        where=where,
        expected=f"available_at baseline, or at most {landmark} days",
        todo="remove it from the predictors, or set landmark_days of the endpoint",
    )


def _check_imaging(config: dict[str, Any]) -> None:
    imaging = config.get("imaging")
    if imaging:
        _known(imaging["reference"], imaging["channels"], "channel", "config.imaging.reference")
    masks = imaging["masks"] if imaging else []
    for name, roi in config["extract"]["rois"].items():
        where = f"config.extract.rois.{name}"
        if roi["source"] != "table":
            if "mask" not in roi:
                raise ConfigError("'mask' is missing", where=where, todo="name the structure, for example tumour")
            segmented = config.get("segment", {}).get("labels", [])
            _known(roi["mask"], segmented if roi["source"] == "nnunet" else masks, "mask", f"{where}.mask")
        _check_ring(roi, masks, where)
    intensity = config["extract"]["intensity"]
    window = intensity.get("window")
    if (intensity["kind"] == "window") != (window is not None) or (window and window[0] >= window[1]):
        raise ConfigError(
            "the window of intensities is not whole", where="config.extract.intensity", found=dict(intensity),
            expected="kind: window with window: [low, high], low below high",
        )  # fmt: skip
    modality = imaging["modality"] if imaging else "none"
    if intensity.get("bias_field") == "n4" and (modality != "MR" or window):
        raise ConfigError(
            "only MR has a bias field to correct", where="config.extract.intensity.bias_field",
            expected="imaging.modality MR and a kind other than window",
            found=f"modality {modality}, kind {intensity['kind']}", todo="remove bias_field",
        )  # fmt: skip
    if intensity["kind"] == "organ":
        _known(intensity.get("organ", ""), masks, "mask", "config.extract.intensity.organ")


def _check_ring(roi: Mapping[str, Any], masks: list[str], where: str) -> None:
    made = sorted(roi.keys() & {"lesion", "ring_mm", "grow_mm", "within"})
    if made and roi["source"] == "table":
        raise ConfigError("a table has no mask to take a region from", where=f"{where}.{made[0]}", found=roi[made[0]])
    if {"ring_mm", "grow_mm"} <= roi.keys():
        raise ConfigError("a region is a ring or an outline drawn anew", where=where, expected="ring_mm or grow_mm")
    if "within" in roi:
        if "ring_mm" not in roi and roi.get("grow_mm", 0) <= 0:
            raise ConfigError(
                "'within' belongs to a ring or a wider outline", where=where,
                todo="give ring_mm or a positive grow_mm too, or remove within",
            )  # fmt: skip
        _known(roi["within"], masks, "mask", f"{where}.within")
        if roi["within"] == roi["mask"]:
            raise ConfigError("a ring lies outside its own structure", where=f"{where}.within", found=roi["within"])


def _check_segment(config: dict[str, Any]) -> None:
    if "segment" not in config:
        return
    segment, imaging = config["segment"], config.get("imaging", {"channels": [], "masks": []})
    tiny = segment["trainer"] == "tiny"
    key, whose = ("configuration", "of nnU-Net") if tiny else ("iterations", "tiny")
    if segment[key] != load_schema("config")["properties"]["segment"]["properties"][key]["default"]:
        raise ConfigError(
            f"'{key}' is for the trainer{'s' if tiny else ''} {whose}", where=f"config.segment.{key}",
            found=f"trainer {segment['trainer']}", todo="remove it",
        )  # fmt: skip
    for name in segment["labels"]:
        _known(name, imaging["masks"], "mask", "config.segment.labels")
    for name in segment.get("channels", ()):
        _known(name, imaging["channels"], "channel", "config.segment.channels")
    for name in segment["require_dice"]:
        _known(name, segment["labels"], "label", "config.segment.require_dice")
    for cohort, structures in segment["imported"].items():
        where = f"config.segment.imported.{cohort}"
        _known(cohort, config["cohorts"], "cohort", "config.segment.imported")
        for name in segment["labels"]:
            _known(name, structures, "label", where)
        for name in structures.values():
            _known(name, imaging["masks"], "mask", where)


def _check_results(config: dict[str, Any]) -> None:
    cohorts, columns, endpoints, models = (config[k] for k in ("cohorts", "columns", "endpoints", "models"))
    primary, survive = config["primary"], config["survive"]
    _known(primary["endpoint"], endpoints, "endpoint", "config.primary.endpoint")
    _known(primary["model"], models, "model", "config.primary.model")
    if primary["comparator"] is not None:
        _known(primary["comparator"], models, "model", "config.primary.comparator")
    _known(primary["cohort"], cohorts, "cohort", "config.primary.cohort")
    for name in config["validate"]["subgroups"] or ():
        _known(name, ["site", *columns], "column", "config.validate.subgroups")
    for name in survive["endpoints"]:
        _known(
            name,
            [e for e, s in endpoints.items() if s["kind"] == "survival"],
            "survival endpoint",
            "config.survive.endpoints",
        )
    for name in survive["models"]:
        _known(name, models, "model", "config.survive.models")
    for column in survive["covariates"]:
        _known(column, columns, "column", "config.survive.covariates")
        for name in survive["endpoints"]:
            check_available(column, columns, endpoints[name], "config.survive.covariates")


def _check_score(spec: dict[str, Any], config: dict[str, Any], where: str) -> None:
    """A signature that is a score must say which, where its model has several."""
    model = config["models"][spec["model"]]
    learnt = list(tasks_of(model, config["endpoints"]).heads) if model["kind"] == "network" else [model["endpoint"]]
    if "endpoint" in spec:
        _known(spec["endpoint"], learnt, "endpoint of this model", f"{where}.endpoint")
    elif len(learnt) > 1:
        raise ConfigError(
            "the model has a score for several endpoints", where=where, expected=f"endpoint: {' or '.join(learnt)}"
        )


def _check_relate(config: dict[str, Any]) -> None:
    if "relate" not in config:
        return
    relate, columns = config["relate"], config["columns"]
    for name in relate.get("cohorts", ()):
        _known(name, config["cohorts"], "cohort", "config.relate.cohorts")
    for name, spec in relate["signatures"].items():
        where = f"config.relate.signatures.{name}"
        sources = [key for key in SIGNATURES if key in spec]
        if len(sources) != 1:
            raise ConfigError(
                "a signature has one source", where=where, expected=f"one of {', '.join(SIGNATURES)}", found=sources
            )
        if "model" in spec:
            _known(spec["model"], config["models"], "model", f"{where}.model")
            _check_score(spec, config, where)
        if "roi" in spec:
            _known(spec["roi"], config["extract"]["rois"], "ROI", f"{where}.roi")
        if "network" in spec:
            networks = [m for m, model in config["models"].items() if entry_of(model, config)["kind"] == "network"]
            _known(spec["network"], networks, "network", f"{where}.network")
        if "model" in spec and "components" in spec:
            raise ConfigError("a model's score has no components", where=f"{where}.components")
    for part in ("genes", "histology"):
        for name in relate.get(part, {}).get("adjust", ()):
            _known(name, ["site", *columns], "column", f"config.relate.{part}.adjust")
    if "arms" in relate:
        for key, kind in (("column", "category"), ("time", "number")):
            name = relate["arms"].get(key)
            if name is not None:
                _known(name, [c for c in columns if columns[c]["kind"] == kind], f"{kind}", f"config.relate.arms.{key}")
