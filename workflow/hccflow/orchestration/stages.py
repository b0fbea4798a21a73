"""The DVC stages of a study, written from its configuration: one per stage, cohort and model.

Every command is Snakemake targets behind a fence (``--allowed-rules``): a stage makes its own outputs and no other's.
No value of the configuration is repeated: names come from it by ``${…}``, parameters are read from it by DVC.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hccflow.ids import CohortRole
from hccflow.provenance import PACKAGE as PACKAGE_FOLDER
from hccflow.provenance import closure
from hccflow.study import Study
from hccflow.variants import candidates

HEAD = """# Written by `{command}`; `hccflow check` says when it no longer fits.
# DVC owns hashes and remotes, Snakemake decides what runs, where and in which environment: every command is Snakemake
# targets inside the fence of one stage. On a cluster set SNAKEMAKE_PROFILE=profiles/slurm; the commands stay the same.
"""
#: Stands for the cohort or the model in the body of a stage until it is known how they are listed.
EACH = "@"
#: Rules inside the fence of a stage, and so the commands whose code it depends on (where they differ from the rule).
RULES = {
    "phantom": ["phantom"],
    "convert": ["convert", "convert_gather"],
    "enrol": ["enrol"],
    "split": ["split"],
    "segment_train": ["segment_export", "segment_train", "segment_freeze"],
    "segment": ["segment_predict", "segment_gather"],
    "segment_judge": ["segment"],
    "extract": ["extract", "extract_gather", "extract_import", "crop", "crop_gather"],
    "train": ["train", "train_fold", "train_network", "fuse", "choose", "odds_ratios"],
    "validate": ["predict", "explain", "validate"],
    "pool": ["pool"],
    "experiment": ["experiment"],
    "survive": ["survive"],
    "relate_fit": ["relate_fit"],
    "relate": ["relate"],
    "report": ["report"],
}
COMMANDS = dict.fromkeys(("convert_gather", "segment_gather", "extract_gather", "crop_gather"), "gather")
COMMANDS["extract_import"] = "extract"
#: Parts of the configuration that a stage sees; those that the configuration does not have are left out.
PARAMETERS = {
    "phantom": ["data"],
    "convert": ["seed", "imaging", "convert"],
    "enrol": ["seed", "null_seed", f"cohorts.{EACH}", "columns", "endpoints", "eligibility"],
    "split": ["seed", "columns", "endpoints", "split"],
    "segment_train": ["seed", "imaging", "split", "segment"],
    "segment": ["seed", "imaging", "segment", f"cohorts.{EACH}"],
    "segment_judge": ["seed", "imaging", "segment"],
    "extract": ["seed", "imaging", "extract", "crops"],
    "train": ["seed", "columns", "endpoints", "split", f"models.{EACH}", "survive.cut", "survive.endpoints"],
    "validate": [
        "seed",
        f"cohorts.{EACH}",
        "columns",
        "endpoints",
        "models",
        "primary",
        "split",
        "survive",
        "validate",
    ],
    "pool": ["seed", "endpoints", "models", "primary", "validate"],
    "experiment": ["seed", "models", "validate", "experiment"],
    "survive": ["seed", "columns", "endpoints", "models", "survive"],
    "relate_fit": ["seed", "columns", "relate"],
    "relate": ["seed", "columns", "relate"],
}
CURVES = {"roc": ("fpr", "tpr"), "calibration": ("predicted", "observed"), "decision": ("threshold", "net_benefit")}
PACKAGE = "workflow/hccflow"
RESULTS = "results" + "/${study}"


def dvc_place(config_file: Path) -> Path:
    """Where the stages of a configuration stand: ``dvc.yaml`` for ``config.yaml``, else in a folder of its name."""
    return Path("dvc.yaml") if config_file == Path("config.yaml") else config_file.with_suffix("") / "dvc.yaml"


def dvc_text(study: Study, raw: Mapping[str, Any], config_file: Path) -> str:
    """Text of the file of DVC stages of a study.

    Parameters
    ----------
    study : Study
        The checked study, with its cohorts.
    raw : mapping
        The configuration as its file has it, without defaults: DVC can only follow keys that are written there.
    config_file : Path
        Path of the configuration, relative to the repository.
    """
    writer = _Writer(study, raw, config_file)
    parts = [{"vars": [writer.outward(config_file)]}, {"stages": writer.stages()}, *writer.shown()]
    texts = [yaml.safe_dump(part, sort_keys=False, default_flow_style=None, width=118) for part in parts]
    texts[1] = re.sub(r"\n  (?=[\w-]+:\n)", "\n\n  ", texts[1]).replace("\n\n", "\n", 1)
    return HEAD.format(command=writer.command) + "\n".join(texts)


class _Writer:
    """What the stages of one study have in common."""

    def __init__(self, study: Study, raw: Mapping[str, Any], config_file: Path) -> None:
        self.study, self.raw, self.config_file = study, raw, config_file
        self.default = dvc_place(config_file) == Path("dvc.yaml")
        self.option = "" if self.default else f" --configfile {config_file}"
        self.command = f"hccflow init --stages{self.option}"
        self.data = study.config["data"]
        self.cohorts, self.models, self.declared = list(study.cohorts), study.models, study.config["models"]
        self.imaged = [name for name, cohort in study.cohorts.items() if cohort.has_images]

    def outward(self, path: str | Path) -> str:
        """Path as seen from the folder of the stages."""
        return os.path.relpath(path, dvc_place(self.config_file).parent)

    def stages(self) -> dict[str, Any]:
        """All stages by name, in the order of the study."""
        out: dict[str, Any] = {}
        data, cohorts, development = f"{self.data}/{EACH}", self.study.cohorts, self.study.development
        phantoms = [name for name, cohort in cohorts.items() if cohort.card["source"]["kind"] == "phantom"]
        split = f"{RESULTS}/enrol/split.tsv"
        enrolled = [*(f"{RESULTS}/enrol/{name}" for name in development), split]

        def phantom(name: str) -> dict[str, Any]:
            return self.stage("phantom", [f"{data}/dicom"], [f"{data}/cohort.yaml"], [f"{data}/dicom"])

        def convert(name: str) -> dict[str, Any]:
            deps = [self.images(name), f"{data}/participants.tsv"]
            return self.stage(
                "convert", [f"{RESULTS}/convert/{EACH}/manifest.tsv"], deps, [f"{RESULTS}/convert/{EACH}"]
            )

        def enrol(name: str) -> dict[str, Any]:
            lesions = [f"{data}/lesions.tsv"] if (cohorts[name].folder / "lesions.tsv").is_file() else []
            converted = [f"{RESULTS}/convert/{EACH}"] if name in self.imaged else []
            deps = [f"{data}/participants.tsv", *lesions, *converted]
            return self.stage("enrol", [f"{RESULTS}/enrol/{EACH}/subjects.tsv"], deps, [f"{RESULTS}/enrol/{EACH}"])

        def segment(name: str) -> dict[str, Any]:
            imported = name in self.study.config["segment"]["imported"]
            frozen = [] if imported else [f"{RESULTS}/segment/model", f"{RESULTS}/segment/freeze.json"]
            deps = [f"{RESULTS}/convert/{EACH}", split, *frozen]
            return self.stage(
                "segment", [f"{RESULTS}/segment/{EACH}/manifest.tsv"], deps, [f"{RESULTS}/segment/{EACH}"]
            )

        def extract(name: str) -> dict[str, Any]:
            tables = [f"{data}/features.tsv", f"{data}/participants.tsv"]
            masks = [f"{RESULTS}/segment/{EACH}"] if self.predicts_masks else []
            deps = [f"{RESULTS}/convert/{EACH}", *masks] if name in self.imaged else tables
            return self.stage("extract", self.extracted(name), deps, [f"{RESULTS}/extract/{EACH}"])

        def train(name: str) -> dict[str, Any]:
            spec, variant, more = self.models[name], self.study.variants.get(name), []
            inputs = [f"{RESULTS}/train/{model}" for model in spec.get("inputs", [])]
            if "choose" in spec:
                sweep = spec["choose"]["among"]
                inputs = [f"{RESULTS}/train/{model}" for model in candidates(self.study.config, sweep)]
                more = [f"experiment.{sweep}"]
            if variant is not None:
                more = [f"models.{variant.base}", f"experiment.{variant.sweep}"]
            deps = [*enrolled, *(inputs or self.features(development))]
            made = [f"{RESULTS}/train/{EACH}"]
            targets = ["freeze.json", *["odds_ratios.tsv"] * (name in self.study.clinical_logistic)]
            targets = [f"{RESULTS}/train/{EACH}/{target}" for target in targets]
            return self.stage("train", targets, deps, made, more, variant is None)

        def validate(name: str) -> dict[str, Any]:
            maps = self.study.explained if name in self.imaged else []
            ends = ("cam", "features.tsv", "dice.tsv")
            targets = ["metrics.tsv", *(f"{model}.{end}" for model in maps for end in ends)]
            deps = [f"{RESULTS}/enrol", *self.features([EACH]), f"{RESULTS}/train"]
            outs = [f"{RESULTS}/validate/{EACH}"]
            sweeps = self.study.config["experiment"].items()
            more = [f"experiment.{sweep}.cohorts" for sweep, spec in sweeps if name in spec["cohorts"]]
            return self.stage("validate", [f"{RESULTS}/validate/{EACH}/{t}" for t in targets], deps, outs, more)

        def survive(name: str) -> dict[str, Any]:
            # With covariates the clinical Cox model of the training rows is judged in every cohort.
            own = f"{RESULTS}/enrol" if self.study.config["survive"]["covariates"] else f"{RESULTS}/enrol/{EACH}"
            deps = [own, f"{RESULTS}/train", f"{RESULTS}/validate/{EACH}"]
            return self.stage("survive", [f"{RESULTS}/survive/{EACH}/metrics.tsv"], deps, [f"{RESULTS}/survive/{EACH}"])

        def relate(name: str) -> dict[str, Any]:
            sets = self.study.config["relate"].get("genes", {}).get("sets")
            deps = [
                f"{RESULTS}/relate/model",
                split,
                *self.measured(name, EACH),
                *([f"{self.data}/{sets}"] * bool(sets)),
            ]
            return self.stage("relate", [f"{RESULTS}/relate/{EACH}/metrics.tsv"], deps, [f"{RESULTS}/relate/{EACH}"])

        self.each(out, "phantom", phantoms, phantom)
        self.each(out, "convert", self.imaged, convert)
        self.each(out, "enrol", self.cohorts, enrol)
        out["split"] = self.stage("split", [split], enrolled[:-1], [split])
        if "segment" in self.study.config:
            frozen = f"{RESULTS}/segment/freeze.json"
            converted = [f"{RESULTS}/convert/{name}" for name in development]
            out["segment_train"] = self.stage(
                "segment_train", [frozen], [*converted, *enrolled], [f"{RESULTS}/segment/model", frozen]
            )
            self.each(out, "segment", self.imaged, segment)
            dice, masks = f"{RESULTS}/segment/dice.tsv", [f"{RESULTS}/segment/{name}" for name in self.imaged]
            out["segment_judge"] = self.stage("segment_judge", [dice], masks, [dice])
        if self.study.config["extract"]["rois"]:
            self.each(out, "extract", self.cohorts, extract)
        self.each(out, "train", list(self.declared), train)
        self.each(out, "train", list(self.study.variants), train)
        self.each(out, "validate", self.cohorts, validate)
        external = [n for n, c in cohorts.items() if c.role is CohortRole.EXTERNAL and not c.subset_of]
        if len(external) > 1:
            pooled = [f"{RESULTS}/validate/pooled.{kind}" for kind in ("tsv", "svg", "png")]
            out["pool"] = self.stage("pool", pooled[:1], [f"{RESULTS}/validate/{n}" for n in external], pooled)
        if self.study.variants:
            compared = dict.fromkeys(n for v in self.study.variants.values() for n in (v.base, v.name))
            tables = [f"{RESULTS}/validate/experiment{ending}.tsv" for ending in ("", ".variants")]
            out["experiment"] = self.stage("experiment", tables[:1], [f"{RESULTS}/train/{n}" for n in compared], tables)
        if self.study.config["survive"]["endpoints"]:
            self.each(out, "survive", self.cohorts, survive)
        if "relate" in self.study.config:
            model = f"{RESULTS}/relate/model"
            judged = [path for name in development for path in self.measured(name, name)]
            out["relate_fit"] = self.stage("relate_fit", [f"{model}/frozen.json"], [split, *judged], [model])
            self.each(out, "relate", self.study.config["relate"].get("cohorts", self.cohorts), relate)
        known = [f"{self.data}/{name}/{file}" for name in self.cohorts for file in ("cohort.yaml", "truth.json")]
        made = ("convert", "enrol", "segment", "extract", "train", "validate", "survive", "relate")
        deps = [path for path in known if Path(path).is_file()]
        deps += [*(f"{RESULTS}/{name}" for name in made if name in out), "workflow/report", "requirements.lock"]
        out["report"] = self.stage("report", [f"{RESULTS}/report/report.html"], deps, [f"{RESULTS}/report"])
        return out

    def each(
        self, out: dict[str, Any], stage: str, names: Sequence[str], body: Callable[[str], dict[str, Any]]
    ) -> None:
        """Add one stage for every name; names whose stages differ in more than the name are listed apart."""
        whole = self.cohorts if list(names) != list(self.declared) else list(self.declared)
        universe = "${cohorts}" if whole is self.cohorts else "${models}"
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(json.dumps(body(name)), []).append(name)
        for text, members in groups.items():
            everyone = members == whole
            value = json.loads(text.replace(EACH, "${key}" if everyone else "${item}"))
            key = stage if stage not in out else f"{stage}-{members[0]}"
            out[key] = {"foreach": universe if everyone else members, "do": value}

    def stage(
        self, stage: str, targets: Sequence[str], deps: Sequence[str], outs: Sequence[str], more: Sequence[str] = (),
        own: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        """One stage: targets, the code that they run, what they read, the parameters that they see, what they make.

        `more` are further parameters; without `own` the configuration has no entry of that name.
        """
        rules = RULES[stage]
        seen = [key for key in PARAMETERS.get(stage, ()) if own or EACH not in key]
        keys = [key for key in ("study", *seen, *more) if self.written(key)] if stage in PARAMETERS else None
        where = {} if self.default else {"wdir": os.path.relpath(".", dvc_place(self.config_file).parent)}
        return {
            "cmd": f"snakemake {' '.join(targets)}{self.option} --allowed-rules {' '.join(rules)}",
            **where,
            "deps": [*dict.fromkeys(deps), *code_files(rules)],
            "params": [{str(self.config_file): keys}],
            "outs": [{path: {"persist": True}} for path in outs],
        }

    def written(self, key: str) -> bool:
        """Whether the configuration's file has a key (dotted); the names of cohorts and models are there."""
        value: Any = self.raw
        for part in key.split("."):
            if part == EACH:
                return True
            if not isinstance(value, Mapping) or part not in value:
                return False
            value = value[part]
        return True

    def images(self, name: str) -> str:
        """Folder of the images of a cohort."""
        cohort = self.study.cohorts[name]
        if "path" in cohort.card["source"]:
            return str(cohort.images)
        return f"{self.data}/{EACH}/{cohort.images.name}"

    @property
    def predicts_masks(self) -> bool:
        """Whether a region of interest comes from the networks' masks."""
        return any(roi["source"] == "nnunet" for roi in self.study.config["extract"]["rois"].values())

    def features(self, names: Sequence[str]) -> list[str]:
        """Folders of the features of cohorts, where the study extracts any."""
        return [f"{RESULTS}/extract/{name}" for name in names if self.study.config["extract"]["rois"]]

    def measured(self, name: str, key: str) -> list[str]:
        """What the stage relate reads of a cohort, written with `key` for its name."""
        relate = self.study.config["relate"]
        tables = [relate[part]["table"] for part in ("genes", "histology") if part in relate]
        tables += [spec["table"] for spec in relate["signatures"].values() if "table" in spec]
        own = [f"{self.data}/{key}/{table}" for table in tables if (self.study.cohorts[name].folder / table).is_file()]
        return [f"{RESULTS}/enrol/{key}", *self.features([key]), f"{RESULTS}/validate/{key}", *own]

    def extracted(self, name: str) -> list[str]:
        """Tables that close the extraction of a cohort."""
        rois = [f"{RESULTS}/extract/{EACH}/roi-{roi}/features.tsv" for roi in self.study.config["extract"]["rois"]]
        crops = [f"{RESULTS}/extract/{EACH}/crop-{crop}/manifest.tsv" for crop in self.study.config["crops"]]
        return [*rois, *(crops if name in self.imaged else [])]

    def shown(self) -> list[dict[str, Any]]:
        """What `dvc metrics`, `dvc plots` and the model registry know."""
        plots: list[dict[str, Any]] = []
        for cohort in self.cohorts:
            for curve, (x, y) in CURVES.items():
                path = self.outward(f"{RESULTS}/validate/{cohort}/curves/{curve}.tsv")
                title = f"{cohort}: {curve}"
                plots.append({path: {"x": x, "y": y, "title": title, "template": "by_model"}})
        artifacts = {
            name.replace("_", "-"): {
                "path": self.outward(f"{RESULTS}/train/{name}"),
                "type": "model",
                "desc": spec.get("label", name),
                "labels": [spec["kind"], spec["endpoint"]],
                "meta": {"cohorts": list(self.study.development), "freeze": f"{RESULTS}/train/{name}/freeze.json"},
            }
            for name, spec in self.declared.items()
        }
        return [
            {"metrics": [self.outward(f"{RESULTS}/report/metrics.json")]},
            {"plots": plots},
            {"artifacts": artifacts},
        ]


def code_files(rules: Sequence[str]) -> list[str]:
    """Library that rules run, by package or module; of the command line only the commands themselves."""
    found: set[str] = set()
    for rule in rules:
        for module in closure(f"hccflow.cli.{COMMANDS.get(rule, rule)}"):
            parts = module.split(".")[1:]
            depth = 2 if parts[0] == "cli" and len(parts) > 1 else 1
            found.add(".".join(parts[:depth]))
    found = {"cli.__init__" if name == "cli" else name for name in found}
    paths = [Path(PACKAGE, *name.split(".")) for name in found]
    here = [path if (PACKAGE_FOLDER.parents[1] / path).is_dir() else path.with_suffix(".py") for path in paths]
    return sorted(path.as_posix() for path in here)
