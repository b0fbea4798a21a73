"""What the analysis is told: covariates, cuts, times, horizon, ties, kind of interval."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hccflow.errors import ConfigError
from hccflow.models.encoding import TRANSFORMS
from hccflow.tables import load_schema


@dataclass(frozen=True)
class Settings:
    """Settings of a survival analysis.

    Attributes
    ----------
    covariates : list of str
        Clinical covariates of the Cox models; columns of the table.
    transforms : dict
        Numeric covariate -> fixed transform, ``log``, ``log1p`` or ``sqrt``; its name becomes ``afp (log1p)``.
    cut : dict
        Model -> cut of its score (``high`` = at least the cut), from training scores.
    times : list of float
        Times at which survival, numbers at risk, AUC(t) and Brier(t) are reported.
    tau : float, optional
        Horizon of the restricted mean and of the truncated Uno C.
    ties : {"efron", "breslow"}
    conf_type : {"log", "log-log", "plain"}
        Interval of S(t).
    strata : list of str
        Columns that stratify a further log-rank test.
    ridge : float, optional
        Penalty of a further, ridge-penalised Cox model.
    levels : dict
        Column -> its categories, the reference first; the sorted values where absent.
    level : float
        Confidence level.
    """

    covariates: list[str] = field(default_factory=list)
    transforms: dict[str, str] = field(default_factory=dict)
    cut: dict[str, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    tau: float | None = None
    ties: str = "efron"
    conf_type: str = "log-log"
    strata: list[str] = field(default_factory=list)
    ridge: float | None = None
    levels: dict[str, list[str]] = field(default_factory=dict)
    level: float = 0.95


#: Names that the analysis gives to the score, its groups and the times.
OWN_NAMES = ("score", "high", "time", "entry")


def read_settings(values: Mapping[str, Any], *, where: object) -> Settings:
    """Check the settings of an analysis by hand (the keys of `Settings`) and fill in defaults.

    Raises
    ------
    ConfigError
        An unknown key, or a value of the wrong kind.
    """
    known = [f.name for f in fields(Settings)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ConfigError(
                f"unknown key '{key}'", where=where, expected=", ".join(known),
                todo=f"did you mean '{near[0]}'?" if near else None,
            )  # fmt: skip
    given = {key: value for key, value in values.items() if value is not None}
    for key in ("covariates", "times", "strata"):
        given[key] = _listed(given.get(key, []), key, where)
    given["times"] = [_number(t, "times", where, low=0.0) for t in given["times"]]
    reserved = {*load_schema("predictions")["properties"], *OWN_NAMES}
    for name in given["covariates"]:
        if name in reserved or given["covariates"].count(name) > 1:
            raise ConfigError(
                f"'{name}' cannot be a covariate" if name in reserved else f"covariate '{name}' stands twice",
                where=where, expected="each a column of its own, none with a name of the schema predictions",
            )  # fmt: skip
    cut = given.get("cut", {})
    if not isinstance(cut, Mapping):
        raise ConfigError("a cut for each model", where=f"{where}, cut", expected="{model: value}", found=cut)
    given["cut"] = {
        str(model): _number(value, f"cut.{model}", where) for model, value in cut.items() if value is not None
    }
    check_transforms(given.get("transforms", {}), given["covariates"], where)
    for key, above, below in (("tau", 0.0, math.inf), ("ridge", 0.0, math.inf), ("level", 0.0, 1.0)):
        if key in given:
            given[key] = _number(given[key], key, where)
            if not above < given[key] < below:
                limits = f"above {above:g}" + (f" and below {below:g}" if below < math.inf else "")
                raise ConfigError(f"'{key}' is out of range", where=where, expected=limits, found=given[key])
    for key, allowed in (("ties", ("efron", "breslow")), ("conf_type", ("log", "log-log", "plain"))):
        if key in given and given[key] not in allowed:
            raise ConfigError(f"unknown {key}", where=where, expected=" or ".join(allowed), found=given[key])
    return Settings(**given)


def check_transforms(transforms: Any, covariates: list[str], where: object) -> None:
    """Refuse a transform that is unknown, or of a column that is no covariate."""
    if not isinstance(transforms, Mapping):
        raise ConfigError("a transform for each covariate", where=f"{where}, transforms", found=transforms)
    for name, kind in transforms.items():
        if name not in covariates:
            raise ConfigError(f"transform of '{name}', which is no covariate", where=where, expected=covariates)
        if kind not in TRANSFORMS:
            raise ConfigError(f"unknown transform of '{name}'", where=where, expected=list(TRANSFORMS), found=kind)


def _listed(value: Any, key: str, where: object) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"'{key}' is a list", where=where, found=value)
    return value


def _number(value: Any, key: str, where: object, low: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        expected = "a finite number" + (f", at least {low:g}" if math.isfinite(low) else "")
        raise ConfigError(f"'{key}' is a number", where=where, expected=expected, found=value)
    return float(value)
