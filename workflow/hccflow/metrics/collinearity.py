"""What a covariate has of its own: which ones can be estimated, and how the others inflate the variance of each.

References
----------
Fox J, Monette G. J Am Stat Assoc 1992;87:178-183 (generalised variance inflation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]
#: Share of a covariate's variance that the others must leave unexplained.
ALIASED = 1e-9
NOT_OWN = "constant, or a combination of other covariates"


def standardised(X: Array) -> tuple[Array, Array, Array]:
    """Columns less their mean and in units of their SD (a constant one in its own), with means and SDs."""
    centre, scale = X.mean(0), X.std(0)
    scale = np.where(scale > ALIASED * np.maximum(1.0, np.abs(centre)), scale, 1.0)
    return (X - centre) / scale, centre, scale


def independent(information: Array) -> Array:
    """Covariates that carry information of their own, earlier ones first (pivot by pivot Cholesky)."""
    left = information.copy()
    keep = np.zeros(len(left), bool)
    for j in range(len(left)):
        if left[j, j] > ALIASED * max(1.0, information[j, j]):
            keep[j] = True
            left = left - np.outer(left[:, j], left[j]) / left[j, j]
    return keep


def inflation(X: pd.DataFrame, terms: Mapping[str, Sequence[str]]) -> dict[str, Estimate]:
    """Variance inflation factor of each term, given the other terms.

    Of a term of one column it is the ordinary 1 / (1 - R2). Of a category with several columns it is the generalised
    one to the power 1 / df, the square of Fox and Monette's GVIF^(1/(2 df)): it does not depend on the reference level,
    and is on the scale of the ordinary one.

    Parameters
    ----------
    X : pandas.DataFrame
        Design matrix without intercept, complete rows.
    terms : mapping
        Term -> its columns.
    """
    bases = {name: _basis(X[list(columns)].to_numpy(float)) for name, columns in terms.items()}
    out = {}
    for name, own in bases.items():
        others = _basis(np.column_stack([np.zeros((len(X), 1)), *(b for other, b in bases.items() if other != name)]))
        # Canonical correlations: what the others explain of each direction of the term.
        left = 1 - np.linalg.svd(own.T @ others, compute_uv=False) ** 2
        if own.shape[1] == 0 or left.min(initial=1.0) < ALIASED:
            out[name] = undefined(NOT_OWN, n=len(X))
        else:
            out[name] = Estimate(float(np.prod(1 / left) ** (1 / own.shape[1])), n=len(X))
    return out


def _basis(X: Array) -> Array:
    """Orthonormal columns that span the standardised columns."""
    vectors, sizes, _ = np.linalg.svd(standardised(X)[0], full_matrices=False)
    return vectors[:, sizes**2 > ALIASED * max(1.0, float((sizes**2).max(initial=0.0)))]
