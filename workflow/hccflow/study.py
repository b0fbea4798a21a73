"""A study: its configuration, checked and filled with defaults, and the cohorts that it names.

Everything here happens before any compute, so that a mistake costs a second and not a night.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import yaml

from hccflow.errors import ConfigError, DataAbsentError, LeakageError
from hccflow.ids import CohortRole, check_id
from hccflow.lesions import check_lesions_file
from hccflow.models.parameters import is_clinical_logistic
from hccflow.participants import read_participants
from hccflow.provenance import digest_of
from hccflow.references import check_references, check_variants
from hccflow.tables import load_schema, read_table
from hccflow.variants import Variant, entry_of, expand

#: Kinds of source that have images, and so pass through convert.
IMAGE_SOURCES = ("phantom", "dicom", "nifti")


@dataclass(frozen=True)
class Cohort:
    """One cohort: its folder, its card, its role in this study and its participants."""

    name: str
    folder: Path
    role: CohortRole
    subset_of: str
    card: dict[str, Any]
    participants: pd.DataFrame

    @property
    def has_images(self) -> bool:
        """Whether the cohort passes through convert; otherwise its features are imported as a table."""
        return self.card["source"]["kind"] in IMAGE_SOURCES

    @property
    def images(self) -> Path:
        """Folder of the images, with their ``series.tsv``."""
        source = self.card["source"]
        if "path" in source:
            return Path(os.path.expandvars(source["path"])).expanduser()
        return self.folder / ("nifti" if source["kind"] == "nifti" else "dicom")

    @property
    def batches(self) -> list[str]:
        """Batches of the cohort, sorted."""
        return sorted(self.participants["batch"].unique())

    @cached_property
    def _cases(self) -> dict[str, list[list[str]]]:
        """Subject and session of every case, sorted, by batch: read once, asked for every job."""
        rows = self.participants[["batch", "subject", "session"]].sort_values(["subject", "session"])
        return {str(batch): part.iloc[:, 1:].to_numpy().tolist() for batch, part in rows.groupby("batch")}

    @cached_property
    def _series(self) -> dict[str, list[list[str]]]:
        """Series of every subject with what a change of their bytes would change: read once, asked for every job."""
        index = read_table(self.images / "series.tsv", "series").sort_values(["subject", "session", "name"])
        used = index.reindex(columns=["subject", "session", "name", "kind", "segment", "value", "sha256"]).astype(str)
        return {str(subject): part.to_numpy().tolist() for subject, part in used.groupby("subject")}

    def rows_digest(self, batch: str) -> str:
        """Digest of the identity of a batch's cases, the part of the participants table that convert depends on."""
        return digest_of(self._cases[batch])[:16]

    def source_digest(self, batch: str) -> str:
        """Digest of a batch's image bytes: of the generator's parameters for a phantom, else of its series.tsv rows."""
        if self.card["source"]["kind"] == "phantom":
            return digest_of(self.card["source"])[:16]
        subjects = sorted({subject for subject, _ in self._cases[batch]})
        return digest_of([row for subject in subjects for row in self._series.get(subject, [])])[:16]


@dataclass(frozen=True)
class Study:
    """A checked configuration with its cohorts."""

    config: dict[str, Any]
    cohorts: dict[str, Cohort]
    data: Path

    @property
    def name(self) -> str:
        """Short name of the study."""
        return self.config["study"]

    @cached_property
    def development(self) -> list[str]:
        """Cohorts that may teach."""
        return [c.name for c in self.cohorts.values() if c.role is CohortRole.DEVELOPMENT]

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """Models that the experiment makes of declared ones, by name."""
        return expand_variants(self.config)

    @cached_property
    def models(self) -> dict[str, dict[str, Any]]:
        """Entries of all models that are trained: the declared ones, then the variants."""
        return {**self.config["models"], **{name: dict(one.spec) for name, one in self.variants.items()}}

    @cached_property
    def clinical_logistic(self) -> list[str]:
        """Declared models whose odds ratios are tabulated."""
        return [name for name, spec in self.config["models"].items() if is_clinical_logistic(spec)]

    @cached_property
    def explained(self) -> list[str]:
        """Declared models whose answers have maps and deep features: networks, and choices among networks."""
        bases = {name: entry_of(spec, self.config) for name, spec in self.config["models"].items()}
        return [name for name, base in bases.items() if base["kind"] == "network"]

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """Cards of the cohorts without their sources."""
        return {name: {k: v for k, v in c.card.items() if k != "source"} for name, c in self.cohorts.items()}

    @property
    def titles(self) -> dict[str, dict[str, str]]:
        """Titles of the cohorts as the section `cohorts` of a stage that only draws."""
        return {name: {"label": card.get("title") or name} for name, card in self.cards.items()}

    @property
    def truth(self) -> dict[str, Any]:
        """What is known to be true of each phantom cohort, by name."""
        files = {n: c.folder / "truth.json" for n, c in self.cohorts.items() if c.card["source"]["kind"] == "phantom"}
        return {n: json.loads(f.read_text(encoding="utf-8")) if f.is_file() else None for n, f in files.items()}

    def section(self, *names: str) -> dict[str, Any]:
        """Parts of the configuration that a stage depends on, with the study's name and seed."""
        return {
            "study": self.name,
            "seed": self.config["seed"],
            **{name: self.config[name] for name in names if name in self.config},
        }


def load_study(config: Mapping[str, Any], root: str | Path = ".") -> Study:
    """Check a configuration and read the tables of its cohorts.

    Parameters
    ----------
    config : mapping
        Configuration as read from YAML; see docs/config.md.
    root : path
        Folder to which a relative `data` refers.

    Raises
    ------
    ConfigError, TableError, DataAbsentError, LeakageError
        One sentence: what, where, expected, found, what to do.
    """
    filled = check_config(config)
    data = data_folder(filled, root)
    cohorts = {name: load_cohort(name, spec, data, filled) for name, spec in filled["cohorts"].items()}
    for name, cohort in cohorts.items():
        if cohort.has_images and "imaging" not in filled:
            raise ConfigError(
                f"cohort '{name}' has images, and the study does not say which", where="config",
                found="no section imaging",
                todo="name its channels under imaging, or give the cohort's card source: {kind: table}",
            )  # fmt: skip
    study = Study(filled, cohorts, data)
    _check_overlap(study)
    _check_copies(study)
    return study


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a configuration against its schema, fill in defaults and check every cross-reference."""
    schema = load_schema("config")
    filled = _fill(copy.deepcopy(dict(config)), schema)
    _validate(filled, schema, "config")
    check_references(filled)
    check_variants(filled, expand_variants(filled))
    return filled


def expand_variants(config: Mapping[str, Any]) -> dict[str, Variant]:
    """Variants of a filled configuration, their entries filled and validated like any other."""
    schema = load_schema("config")["properties"]["models"]["additionalProperties"]
    out = {}
    for name, variant in expand(config).items():
        spec = _fill(copy.deepcopy(dict(variant.spec)), schema)
        _validate(spec, schema, f"config.experiment.{variant.sweep}: {name}")
        out[name] = replace(variant, spec=spec)
    return out


def check_section(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Validate one section of a configuration, as a command receives it, and fill in its defaults."""
    schema = load_schema("config")["properties"][name]
    filled = _fill(copy.deepcopy(dict(value)), schema)
    _validate(filled, schema, f"settings.{name}")
    return filled


def _fill(value: Any, schema: Mapping[str, Any]) -> Any:
    """Fill defaults from a schema, also inside objects that the configuration leaves out."""
    if not isinstance(value, dict):
        return value
    if "if" in schema and jsonschema.Draft202012Validator(schema["if"]).is_valid(value):
        value = _fill(value, schema["then"])
    for name, rule in schema.get("properties", {}).items():
        if name not in value and "default" in rule:
            value[name] = copy.deepcopy(rule["default"])
        if name in value:
            value[name] = _fill(value[name], rule)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for name in value:
            if name not in schema.get("properties", {}):
                value[name] = _fill(value[name], extra)
    if "items" in schema:
        return [_fill(item, schema["items"]) for item in value]
    return value


def _validate(value: Any, schema: Mapping[str, Any], where: str) -> None:
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(value), key=lambda e: list(map(str, e.path)))
    if not errors:
        return
    error = errors[0]
    place = ".".join([where, *map(str, error.absolute_path)])
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        odd = sorted(set(error.instance) - set(known))[0]
        near = difflib.get_close_matches(str(odd), known, n=1)
        raise ConfigError(
            f"unknown key '{odd}'",
            where=place,
            expected=", ".join(known),
            todo=f"did you mean '{near[0]}'?" if near else "remove it; docs/config.md lists every key",
        )
    if error.validator == "required":
        raise ConfigError(
            error.message.replace(" is a required property", " is missing"), where=place, todo="see docs/config.md"
        )
    raise ConfigError(error.message, where=place, expected=error.schema.get("description"), todo="see docs/config.md")


def data_folder(config: Mapping[str, Any], root: str | Path = ".") -> Path:
    """Folder of the cohorts' folders: the environment variable HCCFLOW_DATA, else `data` of the configuration."""
    data = Path(os.environ.get("HCCFLOW_DATA") or config["data"]).expanduser()
    return data if data.is_absolute() else Path(root) / data


def load_cohort(name: str, spec: Mapping[str, Any], data: Path, config: dict[str, Any]) -> Cohort:
    """Read and check one cohort of a checked configuration (see `load_study` for the errors)."""
    check_id("cohort", name, where="config.cohorts")
    folder = data / name
    card_file = folder / "cohort.yaml"
    if not card_file.is_file():
        raise DataAbsentError(
            f"cohort '{name}' has no card",
            where=card_file,
            todo="check the name in config.cohorts, `data` in the config and the environment variable HCCFLOW_DATA",
        )
    card = yaml.safe_load(card_file.read_text(encoding="utf-8"))
    _validate(card, load_schema("cohort"), str(card_file))
    participants = read_participants(folder / "participants.tsv", config["columns"])
    check_lesions_file(folder / "lesions.tsv", participants["subject"], config["endpoints"])
    return Cohort(name, folder, CohortRole(spec["role"]), spec.get("subset_of", ""), card, participants)


def _check_overlap(study: Study) -> None:
    """A subject in two cohorts stops the study, unless one cohort declares itself a subset of the other."""
    owner: dict[str, Cohort] = {}
    for cohort in sorted(study.cohorts.values(), key=lambda c: c.subset_of != ""):
        for subject in sorted(set(cohort.participants["subject"])):
            first = owner.setdefault(subject, cohort)
            if first is not cohort and cohort.subset_of != first.name:
                raise LeakageError(
                    f"subject '{subject}' is in two cohorts",
                    where=f"{first.name} and {cohort.name}",
                    expected="each subject in one cohort",
                    todo=f"remove it from one, or declare `subset_of: {first.name}` for {cohort.name}",
                )


def _check_copies(study: Study) -> None:
    """The same image bytes under two subjects are one patient under two names, in one cohort or in two."""
    owner: dict[str, tuple[str, str]] = {}
    for cohort in study.cohorts.values():
        path = cohort.images / "series.tsv"
        if not cohort.has_images or cohort.card["source"]["kind"] == "phantom" or not path.is_file():
            continue
        index = read_table(path, "series")
        index = index[(index["kind"] == "image") & index["subject"].isin(cohort.participants["subject"])]
        for subject, digest in zip(index["subject"], index["sha256"], strict=True):
            name, other = owner.setdefault(digest, (cohort.name, subject))
            if other != subject:
                raise LeakageError(
                    "one image stands under two subjects",
                    where=f"series.tsv of {name} and {cohort.name}", found=f"{other} and {subject}",
                    expected="one identifier for each patient, in every cohort",
                    todo="give both the same subject (and declare subset_of), or remove one from participants.tsv",
                )  # fmt: skip
