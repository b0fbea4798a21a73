"""Adjustment of p-values for several comparisons; missing p-values do not count as tests (R's ``p.adjust``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hccflow.metrics.estimate import Estimate

#: Metric, estimate, and where its row stands, as in `Estimate.row`.
Test = tuple[str, Estimate, Mapping[str, Any]]
#: Our names and those of statsmodels.
METHODS = {"holm": "holm", "BH": "fdr_bh", "BY": "fdr_by", "bonferroni": "bonferroni"}


def adjust(p: Sequence[float | None], method: str = "holm") -> list[float | None]:
    """Adjusted p-values in the order given; None stays None and is left out of the number of tests.

    Parameters
    ----------
    p : sequence of float or None
    method : {"holm", "BH", "BY", "bonferroni"}
    """
    from statsmodels.stats.multitest import multipletests

    known = [i for i, value in enumerate(p) if value is not None and not np.isnan(value)]
    out: list[float | None] = [None] * len(p)
    if known:
        adjusted = multipletests([p[i] for i in known], method=METHODS[method])[1]
        for i, value in zip(known, adjusted, strict=True):
            out[i] = float(value)
    return out


def holm_rows(tests: Sequence[Test], *, of: str = "") -> list[dict[str, Any]]:
    """Rows ``<metric>_holm`` of the metrics table: the same values, with p adjusted by Holm over all of them.

    Parameters
    ----------
    tests : sequence of Test
    of : str
        What a test is, in one word, for the method's name.
    """
    adjusted = adjust([estimate.p for _, estimate, _ in tests])
    size = sum(p is not None for p in adjusted)
    how = f"Holm, {size} {of}{'s' * (size != 1)}" if of else f"Holm over {size}"
    return [
        replace(estimate, p=p, ci_low=None, ci_high=None, ci_method=how).row(f"{metric}_holm", **where)
        for (metric, estimate, where), p in zip(tests, adjusted, strict=True)
    ]
