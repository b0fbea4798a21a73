"""What the best possible model reaches: AUC and C-index of the Bayes-optimal scores, by Monte Carlo."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from hccflow.phantom import process
from hccflow.phantom.parameters import Parameters

BLOCKS, BLOCK = 400, 500
METHOD = (
    "Monte Carlo over the generator itself. Score: the linear predictor restricted to what may be known. The "
    "covariates are independent, so the probability of response and, at every time, the hazard given only some of them "
    "increase with the linear predictor over those, and no other score ranks better (docs/phantom.md). Label: the "
    "majority of the readers, derived from their measurements. AUC: ties count half, pooled over blocks. C-index: "
    "Harrell's, under the cohort's own censoring. se: standard error of the ratio over blocks."
)


def auc_counts(label: NDArray[np.bool_], score: NDArray[np.float64]) -> tuple[float, float]:
    """Concordant pairs (ties half) and all pairs of one positive and one negative."""
    positive = int(label.sum())
    ranks = rankdata(score)[label].sum()
    return float(ranks - positive * (positive + 1) / 2), float(positive * (len(label) - positive))


def comparable_pairs(time: NDArray[np.int64], event: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pairs that Harrell's C compares: entry (i, j) says that i is known to have the event before j.

    The shorter time ends in an event; of two equal times, one is an event and the other is censored.
    """
    return ((time[:, None] < time) | ((time[:, None] == time) & ~event)) & event[:, None]


def concordance_counts(comparable: NDArray[np.bool_], risk: NDArray[np.float64]) -> tuple[float, float]:
    """Concordant (ties in risk half) and comparable pairs; a higher risk should have the earlier event."""
    higher = np.count_nonzero(comparable & (risk[:, None] > risk))
    tied = np.count_nonzero(comparable & (risk[:, None] == risk))
    return higher + tied / 2, float(np.count_nonzero(comparable))


def bayes_truth(p: Parameters) -> dict[str, Any]:
    """Content of ``truth.json``: coefficients, Bayes-optimal AUC of the label and C-index of both survival endpoints.

    Returns
    -------
    dict
        For each endpoint the coefficients and, under ``auc`` or ``c_index``, value and standard error by information
        (a key of `Parameters.information`).
    """
    rng = p.stream("truth")
    counts: dict[tuple[str, str], list[tuple[float, float]]] = {}
    shares: dict[str, list[float]] = {}
    read = p.design.label == "response"
    names_of = p.information
    for _ in range(BLOCKS):
        x = process.draw_covariates(p, rng, BLOCK)
        response = process.draw_response(p.response, rng, x)
        label = response
        if read:
            ratio, new = process.draw_course(p.response, rng, response)
            diameters = process.draw_diameters(p, rng, x["size"])
            readers = process.objective_response(process.draw_readings(p.response, rng, diameters, ratio), new)
            label = readers.mean(axis=1) > 0.5
            shares.setdefault("agreement", []).append(float((label == response).mean()))
            shares.setdefault("kappa", []).append(_mean_kappa(readers))
        survival = process.draw_survival(p.survival, rng, x) if p.design.survival else {}
        comparable = {endpoint: comparable_pairs(*outcome) for endpoint, outcome in survival.items()}
        for information, names in names_of.items():
            score = process.linear_predictor(p.response.coefficients, x, names)
            counts.setdefault(("label", information), []).append(auc_counts(label, score))
            risk = process.linear_predictor(p.survival.coefficients, x, names) if survival else score
            for endpoint, pairs in comparable.items():
                counts.setdefault((endpoint, information), []).append(concordance_counts(pairs, risk))
        shares.setdefault("prevalence", []).append(float(label.mean()))
        for endpoint, (_, event) in survival.items():
            shares.setdefault(endpoint, []).append(float(event.mean()))
    mean = {name: round(float(np.mean(values)), 4) for name, values in shares.items()}

    def best(endpoint: str) -> dict[str, dict[str, float]]:
        return {information: _ratio(counts[endpoint, information]) for information in names_of}

    about = {"intercept": p.response.intercept, "coefficients": p.response.coefficients}
    if read:
        label_truth = {
            "label": "objective response by mRECIST, majority of the readers",
            "auc": best("label"),
            "prevalence": mean["prevalence"],
            "agreement_with_true_response": mean["agreement"],
            "kappa_between_readers": mean["kappa"],
            **about,
        }
    else:
        label_truth = {
            "label": "recorded without error",
            "auc": best("label"),
            "prevalence": mean["prevalence"],
            **about,
        }
    endpoints = {"os": "os", p.design.progression: "pfs"} if p.design.survival else {}
    return {
        p.design.label: label_truth,
        **{
            name: {
                "c_index": best(endpoint),
                "event_fraction": mean[endpoint],
                "coefficients": p.survival.coefficients,
            }
            for name, endpoint in endpoints.items()
        },
        "information": {name: list(names) for name, names in names_of.items()},
        "columns": p.columns,
        "method": {"text": METHOD, "subjects": BLOCKS * BLOCK, "blocks": BLOCKS, "seed": p.seed},
    }


def _ratio(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Ratio of sums over blocks and its standard error by linearisation."""
    top, bottom = np.array(pairs).T
    value = top.sum() / bottom.sum()
    error = np.sqrt(np.sum((top - value * bottom) ** 2)) / bottom.sum()
    return {"value": round(float(value), 4), "se": round(float(error), 5)}


def _mean_kappa(readers: NDArray[np.bool_]) -> float:
    """Cohen's kappa, averaged over the pairs of readers; `readers` has shape (n, readers)."""

    def kappa(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
        chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
        return float(((a == b).mean() - chance) / (1 - chance))

    return float(np.mean([kappa(a, b) for a, b in combinations(readers.T, 2)]))
