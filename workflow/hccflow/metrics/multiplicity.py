"""Adjustment of p-values for several comparisons; missing p-values do not count as tests (R's ``p.adjust``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
