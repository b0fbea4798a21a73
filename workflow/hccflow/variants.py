"""Variants: models that an experiment makes from a declared one by changing what it names, and nothing else.

The section ``experiment`` of a configuration declares sweeps. Every variant of a sweep is an ordinary entry of a
model, trained on the study's split, frozen and scored by the rules of its base. ``docs/experiment.md`` explains them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hccflow.errors import ConfigError
from hccflow.ids import VARIANT
from hccflow.networks.heads import given_tasks, named_tasks
from hccflow.provenance import digest_of

#: Between the base and the change in the name of a variant; no declared model may have it in its name.
JOIN = "__"
#: Predictors that belong to no channel: the shape of the region.
SHAPE = "shape__*"
#: Outlines that the selection by stability compares with.
STABLE = "select.stable.rois"


@dataclass(frozen=True)
class Variant:
    """A model that differs from a declared one in what `changes` names.

    Attributes
    ----------
    name : str
        ``<base>__<change>``: folder, wildcard and stage.
    sweep : str
        Entry of ``experiment``.
    base : str
        Declared model from which it is made and with which it is compared.
    changes : mapping
        Dotted key of the model's entry to the new value; None removes the key.
    spec : mapping
        The whole entry, as if it stood under ``models``.
    """

    name: str
    sweep: str
    base: str
    changes: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def about(self) -> dict[str, Any]:
        """What tells it from any other variant that was ever tried: everything but its name and its label."""
        own = {key: value for key, value in self.spec.items() if key != "label"}
        return {"sweep": self.sweep, "base": self.base, "changes": dict(self.changes), "digest": digest_of(own)}


def expand(config: Mapping[str, Any]) -> dict[str, Variant]:
    """Variants of all sweeps of a configuration, by name; their entries are not yet filled with defaults.

    Parameters
    ----------
    config : mapping
        ``models``, ``experiment`` and, for single channels, ``imaging``, with defaults.

    Raises
    ------
    ConfigError
        An unknown base or key, a sweep without variants, or two variants of one name.
    """
    out: dict[str, Variant] = {}
    for sweep, spec in config["experiment"].items():
        where = f"config.experiment.{sweep}"
        base = config["models"].get(spec["of"])
        if base is None:
            raise ConfigError(
                f"unknown model '{spec['of']}'", where=f"{where}.of", expected=", ".join(config["models"])
            )
        found = list(_variants(sweep, spec, base, config, where))
        if not found:
            raise ConfigError(
                "a sweep without variants", where=where, expected="vary, variants or auto",
                todo="name a value that the base does not have",
            )  # fmt: skip
        for variant in found:
            if variant.name in out or variant.name in config["models"]:
                raise ConfigError(
                    f"two models are called '{variant.name}'", where=where,
                    todo="give the variant a name of its own under variants",
                )  # fmt: skip
            out[variant.name] = variant
    return out


def candidates(config: Mapping[str, Any], sweep: str) -> list[str]:
    """Models of a sweep: the base, then its variants."""
    base = config["experiment"][sweep]["of"]
    return [base, *(name for name, variant in expand(config).items() if variant.sweep == sweep)]


def entry_of(spec: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Entry that says what a model sees: its own, or of a choice the base of its sweep."""
    if "choose" not in spec:
        return spec
    base: Mapping[str, Any] = config["models"][config["experiment"][spec["choose"]["among"]]["of"]]
    return base


def _variants(
    sweep: str, spec: Mapping[str, Any], base: Mapping[str, Any], config: Mapping[str, Any], where: str
) -> Iterator[Variant]:
    for key, values in spec["vary"].items():
        for value in values:
            if _get(base, key, f"{where}.vary") != value:
                name = f"{key.split('.')[-1]}_{_slug(value)}"
                label = f"{key.split('.')[-1]} {_words(value)}"
                yield _make(sweep, spec["of"], base, name, {key: value}, f"{where}.vary", label)
    for name, changes in spec["variants"].items():
        yield _make(sweep, spec["of"], base, name, changes, f"{where}.variants.{name}")
    for kind in spec["auto"]:
        for name, changes in AUTO[kind](base, config, f"{where}.auto"):
            yield _make(sweep, spec["of"], base, name, changes, f"{where}.auto")


def _make(
    sweep: str, of: str, base: Mapping[str, Any], name: str, changes: Mapping[str, Any], where: str, label: str = ""
) -> Variant:
    """Apply changes; a reader sees `label`, or the name where it says more than a list of keys would."""
    whole = f"{of}{JOIN}{name}"
    if not re.fullmatch(VARIANT, whole):
        raise ConfigError(
            f"'{whole}' cannot be the name of a variant", where=where, expected=f"match of {VARIANT}",
            todo="give it a short name under variants",
        )  # fmt: skip
    made = copy.deepcopy(dict(base))
    for key, value in changes.items():
        _get(base, key, where)
        *parents, last = key.split(".")
        place = made
        for parent in parents:
            place = place[parent]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(value)
    stable = made.get("select", {}).get("stable")
    if stable and made.get("roi") in stable["rois"] and not {"select", "select.stable", STABLE} & set(changes):
        # The variant judges by the same outlines, its base's among them, and never by its own; and says that it does.
        stable["rois"] = [base["roi"] if roi == made["roi"] else roi for roi in stable["rois"]]
        changes = {**changes, STABLE: stable["rois"]}
    made["label"] = f"{base.get('label') or of}: {label or name.replace('_', ' ')}"
    return Variant(whole, sweep, of, dict(changes), made)


def _get(base: Mapping[str, Any], key: str, where: str) -> Any:
    """Value of a dotted key of an entry; None where the entry does not have the last part."""
    *parents, last = key.split(".")
    place: Any = base
    for parent in parents:
        place = place.get(parent)
        if not isinstance(place, Mapping):
            raise ConfigError(f"the base has no '{parent}'", where=f"{where}.{key}", expected=", ".join(base))
    return place.get(last)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_words(part)}" for name, part in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_words, value)) or "none"
    return "none" if value is None else str(value)


def _slug(value: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "_", _words(value).lower()).strip("_")


Changes = Iterator[tuple[str, dict[str, Any]]]


def _channels(base: Mapping[str, Any], config: Mapping[str, Any], where: str) -> Changes:
    """One variant for each channel: what does it see alone?"""
    channels = config.get("imaging", {}).get("channels", [])
    network = base["kind"] == "network"
    if network:
        channels = base["network"].get("channels", channels)
    elif base.get("roi") is None or base["features"] != ["*"]:
        raise ConfigError(
            "single channels are made of a model that sees them all", where=where,
            expected="a network, or features ['*'] of an ROI", todo="name the variants of another model under variants",
        )  # fmt: skip
    if len(channels) < 2:
        raise ConfigError("one channel has no ablation", where=where, found=channels, todo="leave channels out of auto")
    for channel in channels:
        yield f"only_{channel}", {"network.channels": [channel]} if network else {"features": [f"{channel}__*", SHAPE]}


def _tasks(base: Mapping[str, Any], config: Mapping[str, Any], where: str) -> Changes:
    """One variant without each task beside the model's endpoint, and the endpoint alone where there are several."""
    tasks, endpoint = named_tasks(base) if base["kind"] == "network" else {}, base["endpoint"]
    others = [task for task in tasks if task != endpoint]
    if not others:
        raise ConfigError("one task has no ablation", where=where, found=list(tasks), todo="leave tasks out of auto")
    given = given_tasks(base)
    for task in others:
        yield f"without_{task}", {"network.tasks": {name: given[name] for name in tasks if name != task}}
    if len(others) > 1:
        yield f"{endpoint}_alone", {"network.tasks": {endpoint: given[endpoint]}}


#: Ablations that are made by themselves.
AUTO = {"channels": _channels, "tasks": _tasks}
