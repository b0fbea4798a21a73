"""Response criteria: sums of measurements over time become CR, PR, SD or PD. Conventions: docs/endpoints.md.

References
----------
mRECIST: Lencioni, Llovet 2010, Semin Liver Dis 30:52. RECIST 1.1: Eisenhauer et al. 2009, Eur J Cancer 45:228.
EASL: Bruix et al. 2001, J Hepatol 35:421, with the bidimensional thresholds of WHO (Miller et al. 1981, Cancer 47:207).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """Response categories, best first."""

    CR = "CR"
    PR = "PR"
    SD = "SD"
    PD = "PD"


ORDER = {category: rank for rank, category in enumerate(Category)}


@dataclass(frozen=True)
class Criterion:
    """Measure and thresholds of a response criterion.

    ``partial``: largest share of the baseline sum that is a partial response. ``progression``: smallest share of the
    nadir that is progression, when the sum has also grown by ``progression_mm``.
    """

    measure: str
    partial: float
    progression: float
    progression_mm: float = 0.0


CRITERIA = {
    "mrecist": Criterion("viable_mm", 0.70, 1.20),
    "recist": Criterion("diameter_mm", 0.70, 1.20, 5.0),
    "easl": Criterion("viable_area_mm2", 0.50, 1.25),
}


@dataclass(frozen=True)
class Visit:
    """What one reader saw at one follow-up.

    Attributes
    ----------
    total : float or None
        Sum over the target lesions in the criterion's measure; None when a target lesion was not measured.
    new_lesion : bool
        Whether a new lesion was seen.
    rest_gone : bool
        Whether every non-target lesion has measure 0 (true when there are none).
    judged : bool
        Whether the visit lies in the window; an earlier one only lowers the nadir.
    """

    total: float | None
    new_lesion: bool = False
    rest_gone: bool = True
    judged: bool = True


def category(criterion: Criterion, baseline: float, nadir: float, visit: Visit) -> Category | None:
    """Response at one visit; None when it cannot be judged.

    Parameters
    ----------
    criterion : Criterion
        Measure and thresholds.
    baseline, nadir : float
        Baseline sum (> 0), and the smallest sum so far, baseline included; unit of the measure.
    visit : Visit
        The follow-up.
    """
    if visit.new_lesion:
        return Category.PD
    if visit.total is None:
        return None
    if visit.total == 0:
        return Category.CR if visit.rest_gone else Category.PR
    slack = 1e-9 * baseline  # a decrease of exactly 30 % is a response whatever the last bit of the sum
    grown = visit.total - nadir
    if visit.total >= criterion.progression * nadir - slack and grown >= criterion.progression_mm - slack and grown > 0:
        return Category.PD
    return Category.PR if visit.total <= criterion.partial * baseline + slack else Category.SD


def best_response(criterion: Criterion, baseline: float, visits: Sequence[Visit]) -> Category | None:
    """Best response over visits in order of time, up to the first progression; None when no visit can be judged.

    Progression is judged against the nadir (the smallest earlier sum, baseline included), response against baseline.
    """
    nadir, best = baseline, None
    for visit in visits:
        found = category(criterion, baseline, nadir, visit) if visit.judged else None
        if found is Category.PD:
            return best or found
        if found is not None and (best is None or ORDER[found] < ORDER[best]):
            best = found
        if visit.total is not None:
            nadir = min(nadir, visit.total)
    return best
