"""From logits to scores: probabilities, and risks of which higher is worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

from hccflow.models.fold import Fold
from hccflow.networks.heads import Head
from hccflow.networks.losses import expected_survival


@dataclass(frozen=True)
class RiskScale:
    """Mean and SD of a network's log hazards over its training rows.

    A Cox model says nothing about the level of its risks, and a network little about their spread: those of two
    trainings meet only on such a scale.
    """

    mean: float
    sd: float

    @property
    def detail(self) -> str:
        """What came out."""
        return f"log hazard {self.mean:.4g} +- {self.sd:.4g}"

    def apply(self, risk: np.ndarray) -> np.ndarray:
        """Risks as z-scores of the training rows."""
        return (risk - self.mean) / self.sd


@dataclass(frozen=True)
class Level:
    """What is added to a network's logits, so that their mean probability over the fold's rows is the share of events.

    A logistic model has that property by itself. A network that was stopped, or normalises by running statistics, has
    not: the probabilities of two trainings then lie apart by an offset that no threshold or cut can know.
    """

    shift: float

    @property
    def detail(self) -> str:
        """What came out."""
        return f"logit {self.shift:+.4g}"


#: What brings the scores of one head of one network onto the scale of all trainings.
Scale = RiskScale | Level


def learn_level(fold: Fold, logits: np.ndarray) -> Level:
    """Level of a binary head from the logits of a fold's rows, all of which know the label."""
    share = float(fold.y.mean())
    reach = float(np.abs(logits).max()) + 40
    return Level(float(brentq(lambda shift: expit(logits + shift).mean() - share, -reach, reach)))


def learn_risk_scale(fold: Fold, risks: np.ndarray) -> RiskScale:
    """Scale of the log hazards `risks` of a fold's rows; named a fit so that it is written down who was seen.

    An SD of 0, of a network that gives all the same risk, counts as 1.
    """
    sd = float(risks.std())
    return RiskScale(float(risks.mean()), sd if sd > 0 else 1.0)


def score_of(head: Head, logits: Tensor, scale: Scale | None = None) -> np.ndarray:
    """Score of rows by one head.

    Parameters
    ----------
    head : Head
    logits : Tensor, shape (n,) or (n, intervals)
    scale : RiskScale or Level, optional
        Of a Cox head the first, without which the log hazards themselves are given; of a binary head the second.

    Returns
    -------
    array, shape (n,)
        ``bce``: probability. ``cox``: standardised log hazard. ``discrete``: minus the expected days alive until the
        end of the last interval, which is on one scale in every training.
    """
    if head.loss == "bce":
        shift = scale.shift if isinstance(scale, Level) else 0.0
        return torch.sigmoid(logits.double() + shift).cpu().numpy()
    if head.loss == "discrete":
        ends = torch.tensor(head.intervals_days, dtype=torch.float64, device=logits.device)
        return -expected_survival(logits, ends).cpu().numpy()
    risk = logits.double().cpu().numpy()
    return scale.apply(risk) if isinstance(scale, RiskScale) else risk
