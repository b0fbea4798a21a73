"""Bootstrap speed: 10,000 patients, 5 models, 2,000 draws, against the plain loop over the usual libraries.

Run ``python benchmarks/metrics_speed.py [--draws 2000] [--loop-draws 5]``. Ours runs in full. The loop (scikit-learn,
statsmodels, lifelines, scikit-misc; one draw of row numbers after the other) runs for a few draws, and its time is
scaled to all of them, because in full it would take hours. Both give AUC, average precision, Brier score, eight
threshold metrics, calibration intercept and slope, net benefit at eight thresholds and Harrell's C for every draw, and
ICI, E50, E90 with the flexible curve for 200. That the numbers are the same is shown by tests/test_metrics_binary.py.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from hccflow.metrics.bootstrap import resample
from hccflow.metrics.concordance import Concordance
from hccflow.metrics.weighted import Ranking
from hccflow.validate.curves import calibration_curve
from hccflow.validate.options import Options
from hccflow.validate.resampling import Scored, bootstrap_cohort

AT = Options().net_benefit_at
THRESHOLD = 0.5


def make(n: int, models: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """Labels, probabilities of each model, follow-up in whole days and events: simulated, with ties in time."""
    rng = np.random.default_rng(7)
    risk = rng.normal(-0.4, 1, n)
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-risk))).astype(float)
    scores = [1 / (1 + np.exp(-(risk + rng.normal(0, 0.4 + 0.4 * k, n)))) for k in range(models)]
    death, censored = rng.exponential(900 * np.exp(-0.5 * risk)), rng.exponential(1500, n)
    return y, scores, np.ceil(np.minimum(death, censored)), death <= censored


def ours(data: tuple, draws: int) -> dict[str, float]:
    """Seconds of each part."""
    y, scores, follow_up, event = data
    options = Options(draws=draws)
    seconds = {}
    start = time.perf_counter()
    models = [Scored(f"m{k}", p, True, THRESHOLD) for k, p in enumerate(scores)]
    bootstrap_cohort(y, models, [], options, seed=1)
    seconds["AP, Brier, threshold metrics, calibration, net benefit"] = time.perf_counter() - start
    start = time.perf_counter()
    rankings = [Ranking(y, p) for p in scores]
    resample(lambda w: np.column_stack([r.auc(w) for r in rankings]), len(y), draws, 1, strata=y)
    seconds["AUC (stratified)"] = time.perf_counter() - start
    start = time.perf_counter()
    indices = [Concordance(follow_up, event, p) for p in scores]
    resample(lambda w: np.column_stack([c.index(w) for c in indices]), len(y), draws, 1)
    seconds["Harrell C"] = time.perf_counter() - start
    start = time.perf_counter()
    for p in scores:
        calibration_curve(y, p, options, seed=1)
    seconds["ICI and curve, 200 draws"] = time.perf_counter() - start
    return seconds


def loop(data: tuple, draws: int, loop_draws: int) -> float:
    """Seconds that the plain loop would take for all draws."""
    import statsmodels.api as sm
    from lifelines.utils import concordance_index
    from sklearn import metrics as sk
    from skmisc.loess import loess

    y, scores, follow_up, event = data
    rng = np.random.default_rng(1)
    per_draw = curve = 0.0
    for _ in range(loop_draws):
        rows = rng.integers(0, len(y), len(y))
        for score in scores:
            start = time.perf_counter()
            t, p = y[rows], score[rows]
            called = p >= THRESHOLD
            sk.roc_auc_score(t, p)
            sk.average_precision_score(t, p)
            sk.brier_score_loss(t, p)
            tn, fp, fn, tp = sk.confusion_matrix(t, called).ravel()
            _ = tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn), (tp + tn) / len(t)
            sk.balanced_accuracy_score(t, called)
            sk.f1_score(t, called)
            sk.matthews_corrcoef(t, called)
            sm.GLM(t, sm.add_constant(np.log(p / (1 - p))), family=sm.families.Binomial()).fit()
            for at in AT:
                _, fp, _, tp = sk.confusion_matrix(t, p >= at).ravel()
                _ = tp / len(t) - fp / len(t) * at / (1 - at)
            concordance_index(follow_up[rows], -p, event[rows])
            per_draw += time.perf_counter() - start
            start = time.perf_counter()
            smooth = loess(p, t)
            smooth.fit()
            gap = np.abs(smooth.outputs.fitted_values - p)
            _ = gap.mean(), np.median(gap), np.quantile(gap, 0.9)
            smooth.predict(np.linspace(p.min(), p.max(), 100))
            curve += time.perf_counter() - start
    return per_draw / loop_draws * draws + curve / loop_draws * min(draws, 200)


def main() -> None:
    """Print the seconds of each part, and how many times faster it is than the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--loop-draws", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("error")
    data = make(args.patients, args.models)
    seconds = ours(data, args.draws)
    for name, value in seconds.items():
        print(f"{name:60} {value:8.1f} s")
    total = sum(seconds.values())
    print(f"{'total, this package':60} {total:8.1f} s")
    plain = loop(data, args.draws, args.loop_draws)
    print(f"{f'plain loop ({args.loop_draws} draws, scaled to {args.draws})':60} {plain:8.1f} s")
    print(f"{'times faster':60} {plain / total:8.1f}")


if __name__ == "__main__":
    main()
