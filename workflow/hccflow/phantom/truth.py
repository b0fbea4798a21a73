"""What the best possible model reaches: AUC and C-index of the Bayes-optimal scores, by Monte Carlo."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm, rankdata

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
        for (session, information), score in session_scores(p, x, response).items():
            counts.setdefault((session, information), []).append(auc_counts(label, score))
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
    if p.design.weeks:
        kinds = ("imaging", "all")
        label_truth["auc_by_session"] = {
            f"w{week}": {kind: _ratio(counts[f"w{week}", kind]) for kind in kinds} for week in p.design.weeks
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


def session_scores(
    p: Parameters, x: dict[str, NDArray[np.float64]], response: NDArray[np.bool_]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Log odds of the label given what a single scan shows: heterogeneity and the diameter at that week (and the arm).

    With the size before treatment s and growth g(R) a week, a scan of week w shows ``s + g(R) w`` in units of s. So the
    odds are ``P(R=1 | h, s1) f(s1) / (P(R=0 | h, s0) f(s0))`` with ``s_r`` the size seen less the growth under r, and f
    the density of s; over an unknown arm P is averaged.
    """
    scores = {}
    doses = np.array(list(p.design.arms.values()) or [0.0])
    known = {name: b for name, b in p.response.coefficients.items() if name != "treatment"}
    weight = p.response.coefficients.get("treatment", 0.0)
    for week in p.design.weeks:
        shift = np.array(p.design.growth) * week / p.tumour.diameter_log_slope
        seen = x["size"] + shift[response.astype(int)]
        odds: dict[str, list[NDArray[np.float64]]] = {"imaging": [], "all": []}
        for r in (0, 1):
            size = seen - shift[r]
            density = norm.pdf(size) * (np.abs(size) <= p.latent_bound + 1e-9)
            base = p.response.intercept + process.linear_predictor(known, {**x, "size": size})
            for kind, dose in (("imaging", doses[:, None]), ("all", x.get("treatment", np.zeros(len(seen)))[None, :])):
                positive = expit(base + weight * dose).mean(axis=0)
                odds[kind].append(density * (positive if r else 1 - positive))
        with np.errstate(divide="ignore"):
            for kind, (without, having) in odds.items():
                scores[f"w{week}", kind] = np.log(having) - np.log(without)
    return scores


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
