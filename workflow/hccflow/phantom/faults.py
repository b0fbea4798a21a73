"""The honest faults: what is wrong with some subjects, and what a study should make of it."""

from __future__ import annotations

from hccflow.errors import ConfigError
from hccflow.phantom.parameters import Parameters

FAULTS = {
    "missing_slice": "one slice in the middle of the first series is not on disk",
    "truncated_file": "one file of the first series ends in the middle of its pixels",
    "missing_portal": "the portal phase was never acquired",
    "ineligible": "BCLC stage C",
    "no_followup": "no imaging after treatment, so the response is unknown",
    "late_followup": "imaging after treatment came on day 140, outside the window",
    "no_survival": "overall survival is not recorded",
    "small_tumour": "every tumour has half of its diameter",
}
LATE_DAY = 140
SMALL = 0.5


def planted_faults(parameters: Parameters) -> dict[str, list[str]]:
    """Faults of each subject that has one.

    Raises
    ------
    ConfigError
        The card names an unknown fault or an unknown subject.
    """
    known = parameters.subjects()
    found: dict[str, list[str]] = {}
    for kind, subjects in parameters.faults.items():
        if kind not in FAULTS:
            raise ConfigError(f"unknown fault '{kind}'", where="source.parameters.faults", expected=", ".join(FAULTS))
        if kind == "missing_portal" and "portal" not in parameters.design.channels:
            raise ConfigError("no channel portal to leave out", where=f"source.parameters.faults.{kind}")
        for subject in subjects:
            if subject not in known:
                raise ConfigError(f"fault of an unknown subject '{subject}'", where=f"source.parameters.faults.{kind}")
            found.setdefault(subject, []).append(kind)
    return found
