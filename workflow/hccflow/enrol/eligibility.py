"""Eligibility: rules in order, and the first rule that a case fails is the one it is counted at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hccflow.errors import ConfigError
from hccflow.ids import Status

#: Name of the rule that a failed conversion breaks when the study states no rule about images.
CONVERTED = "Images converted"


def judge(
    participants: pd.DataFrame,
    rules: Sequence[Mapping[str, Any]],
    reasons: pd.DataFrame,
    converted: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply the eligibility rules to every case.

    Parameters
    ----------
    participants : pandas.DataFrame
        One row per case.
    rules : sequence of mapping
        The section `eligibility` of the configuration.
    reasons : pandas.DataFrame
        Why an endpoint is unknown ("" = known), one column per endpoint, rows as in `participants`.
    converted : pandas.DataFrame, optional
        Manifest of `convert`. A case whose conversion failed becomes ``failed`` with convert's reason at the first rule
        about images, or after all rules when there is none.

    Returns
    -------
    verdicts : pandas.DataFrame
        ``status, reason, notes`` per case; the reason of an excluded case is the name of the rule.
    flow : pandas.DataFrame
        ``step, rule, n_in, n_out, n_left``, counted in cases.
    """
    verdicts = pd.DataFrame({"status": Status.OK.value, "reason": "", "notes": ""}, index=participants.index)
    flow = [("participants", "", len(participants), 0, len(participants))]
    rules = list(rules)
    if converted is not None:
        converted = _aligned(converted, participants)
        if not any("images" in rule for rule in rules):
            rules.append({"name": CONVERTED, "images": []})
    for rule in rules:
        open_ = verdicts["status"] == Status.OK
        found = _test(rule, participants, reasons, converted)
        out = open_ & (found["status"] != Status.OK)
        verdicts.loc[out] = found.loc[out]
        flow.append(("eligibility", rule["name"], int(open_.sum()), int(out.sum()), int((open_ & ~out).sum())))
    left = int((verdicts["status"] == Status.OK).sum())
    flow.append(("enrolled", "", left, 0, left))
    return verdicts, pd.DataFrame(flow, columns=["step", "rule", "n_in", "n_out", "n_left"])


def _aligned(converted: pd.DataFrame, participants: pd.DataFrame) -> pd.DataFrame:
    """Conversion rows in the order of the participants; a case without a row has failed."""
    columns = ["status", "reason", "channels", "masks", "notes"]
    rows = converted.reindex(columns=["subject", "session", *columns]).fillna("")
    merged = participants[["subject", "session"]].merge(rows, on=["subject", "session"], how="left", validate="1:1")
    merged.index = participants.index
    absent = merged["status"].isna()
    merged.loc[absent, ["status", "reason"]] = [Status.FAILED.value, "no row in the conversion manifest"]
    return merged.fillna("")


def _test(
    rule: Mapping[str, Any], participants: pd.DataFrame, reasons: pd.DataFrame, converted: pd.DataFrame | None
) -> pd.DataFrame:
    """Status, reason and notes of every case under one rule."""
    out = pd.DataFrame({"status": Status.OK.value, "reason": "", "notes": ""}, index=participants.index)
    if "images" in rule:
        return _test_images(rule, out, converted)
    if "endpoint" in rule:
        notes = reasons[rule["endpoint"]]
        fails = notes != ""
    else:
        fails = _fails_column(rule, participants[rule["column"]])
        notes = rule["column"] + " = " + participants[rule["column"]].astype(str).replace({"": "missing"})
        notes = notes.str.replace(r"<NA>|nan$", "missing", regex=True)
    out.loc[fails, "status"] = Status.EXCLUDED.value
    out.loc[fails, "reason"] = rule["name"]
    out.loc[fails, "notes"] = notes[fails]
    return out


def _fails_column(rule: Mapping[str, Any], cells: pd.Series) -> pd.Series:
    numeric = pd.api.types.is_numeric_dtype(cells)
    missing = cells.isna() if numeric else cells == ""
    passes = pd.Series(True, index=cells.index)
    if "in" in rule:
        if numeric:
            passes &= cells.astype("float64").isin([float(value) for value in rule["in"]])
        else:
            passes &= cells.isin([str(value) for value in rule["in"]])
    for key in ("at_least", "at_most"):
        if key not in rule:
            continue
        if not numeric:
            raise ConfigError(
                f"'{key}' needs a number", where=f"eligibility, {rule['name']}", found=f"category {rule['column']}"
            )
        values = cells.astype("float64")
        passes &= (values >= rule[key]) if key == "at_least" else (values <= rule[key])
    return ~passes.mask(missing, bool(rule.get("keep_missing", False))).astype(bool)


def _test_images(rule: Mapping[str, Any], out: pd.DataFrame, converted: pd.DataFrame | None) -> pd.DataFrame:
    if converted is None:
        raise ConfigError(
            "a rule about images in a cohort that has none", where=f"eligibility, {rule['name']}",
            todo="remove the rule, or give the conversion manifest (--manifest)",
        )  # fmt: skip
    bad = converted["status"] != Status.OK
    failed = converted["status"] == Status.FAILED
    out.loc[bad, "status"] = converted["status"][bad]
    out.loc[bad, "reason"] = converted["reason"].where(failed, rule["name"])[bad]
    out.loc[bad, "notes"] = converted["reason"].mask(failed, rule["name"])[bad]
    have = (converted["channels"] + "," + converted["masks"]).str.split(",").map(set)
    absent = have.map(lambda names: ", ".join(name for name in rule["images"] if name not in names))
    lacking = ~bad & (absent != "")
    out.loc[lacking, ["status", "reason"]] = [Status.EXCLUDED.value, rule["name"]]
    detail = "without " + absent + converted["notes"].map(lambda note: f": {note}" if note else "")
    out.loc[lacking, "notes"] = detail[lacking]
    return out
