"""What each kind of model reads of its entry, and each learner of its parameters: light, for checks before compute."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from hccflow.errors import ConfigError
from hccflow.tables import load_schema

#: Keys that every kind of model reads.
COMMON = ("kind", "label", "endpoint", "threshold")
#: Keys that a kind reads besides.
USES = {
    "tabular": ("columns", "transforms", "roi", "features", "select", "learner", "grid", "parameters"),
    "network": ("columns", "transforms", "network"),
    "fusion": ("inputs", "learner", "grid", "parameters"),
    "choice": ("choose",),
}
#: The key without which a kind says nothing.
NEEDS = {"network": "network", "fusion": "inputs", "choice": "choose"}
WAY_OUT = {
    "fusion": "a fusion sees scores only: give it to a model of its own and name that in inputs",
    "choice": "give it to the base of the sweep",
}
_TREES = frozenset(
    {
        "n_estimators",
        "max_depth",
        "subsample",
        "colsample_bytree",
        "min_child_weight",
        "reg_alpha",
        "reg_lambda",
        "gamma",
    }
)
#: Names of the parameters of each learner.
PARAMETERS: Mapping[str, frozenset[str]] = {
    "logistic": frozenset({"C"}),
    "ridge": frozenset({"C"}),
    "lasso": frozenset({"penalty"}),
    "firth": frozenset(),
    "mean": frozenset(),
    "xgboost": _TREES | {"learning_rate"},
    "forest": _TREES | {"colsample_bynode"},
}


def check_keys(spec: Mapping[str, Any], where: str) -> None:
    """Refuse a key that this kind of model never reads: two variants that differ in it would be one, counted twice."""
    kind = spec["kind"]
    if kind in NEEDS and NEEDS[kind] not in spec:
        raise ConfigError(f"'{NEEDS[kind]}' is missing", where=where, todo="see docs/config.md, models")
    for key, value in spec.items():
        if key not in (*COMMON, *USES[kind]) and value != default_of(key):
            owners = [name for name, keys in USES.items() if key in keys]
            raise ConfigError(
                f"'{key}' belongs to kind {' or '.join(owners)}", where=where, found=f"kind {kind}",
                todo=WAY_OUT.get(kind, "remove it"),
            )  # fmt: skip


def default_of(key: str) -> Any:
    """What stands in the entry of a model that says nothing of `key`, None where nothing does."""
    return load_schema("config")["properties"]["models"]["additionalProperties"]["properties"][key].get("default")


def check_learner(spec: Mapping[str, Any], where: str) -> None:
    """Refuse a parameter that the learner does not know, a grid without values, or a mean of anything but scores."""
    learner = spec["learner"]
    if learner == "mean" and spec["kind"] != "fusion":
        raise ConfigError(
            "only a fusion can take the mean: its inputs all point to the event", where=f"{where}.learner",
            expected=", ".join(sorted(PARAMETERS.keys() - {"mean"})), found=learner,
        )  # fmt: skip
    known = PARAMETERS[learner]
    for section in ("grid", "parameters"):
        for name, value in spec.get(section, {}).items():
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                raise ConfigError(
                    f"learner {learner} has no parameter '{name}'", where=f"{where}.{section}",
                    expected=", ".join(sorted(known)) or "no parameters",
                    todo=f"did you mean '{near[0]}'?" if near else None,
                )  # fmt: skip
            if section == "grid" and (not isinstance(value, list) or not value):
                raise ConfigError("a grid needs a list of values", where=f"{where}.grid.{name}", found=value)


def is_clinical_logistic(spec: Mapping[str, Any]) -> bool:
    """Whether a model is a logistic regression of clinical columns alone, so that odds ratios describe it."""
    return bool(
        spec["kind"] == "tabular"
        and spec.get("columns")
        and "roi" not in spec
        and spec["learner"] in ("logistic", "firth")
    )
