"""Losses on logits, one per task, masked where a label is missing; and how tasks are weighed.

Survival targets have two columns: days, and 1 for the event of interest or 0 for censoring (a competing event censors:
the hazards are cause-specific). NaN where unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from hccflow.networks.heads import SEGMENTATION, Tasks


def response_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits over the rows whose label is known (not NaN); 0 when none is.

    Parameters
    ----------
    logits, target : Tensor, shape (n,)
    """
    known = torch.isfinite(target)
    terms = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, target, torch.zeros_like(target)), reduction="none"
    )
    return (terms * known).sum() / known.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss of logits over the cases whose mask is known; 0 when none is.

    Parameters
    ----------
    logits, target : Tensor, shape (n, 1, k, j, i)
        A case without a mask is NaN throughout.

    References
    ----------
    Milletari et al., 3DV 2016, 565 (soft Dice), summed with cross-entropy as in nnU-Net.
    """
    known = torch.isfinite(target).flatten(1).all(dim=1)
    target = torch.where(known[:, None, None, None, None], target, torch.zeros_like(target)).float()
    logits = logits.float()
    axes = (1, 2, 3, 4)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=axes)
    p = torch.sigmoid(logits)
    overlap = 2 * (p * target).sum(dim=axes) + 1
    dice = 1 - overlap / (p.sum(dim=axes) + target.sum(dim=axes) + 1)
    return ((entropy + dice) * known).sum() / known.sum().clamp(min=1)


def cox_loss(risk: Tensor, target: Tensor) -> Tensor:
    """Mean negative log partial likelihood of an event, ties by Efron; 0 when there is no event.

    Parameters
    ----------
    risk : Tensor, shape (n,)
        Log hazards, higher is worse. The risk set of an event is every row still followed on its day.
    target : Tensor, shape (n, 2)
        Days and event; a row with NaN belongs to no risk set.

    References
    ----------
    Cox, JRSS B 1972, 34:187. Efron, JASA 1977, 72:557.
    """
    known = torch.isfinite(target).all(dim=1)
    eta, time, event = risk[known].double(), target[known, 0], target[known, 1] == 1
    days, at = time[event], eta[event]
    if not len(days):
        return risk[known].double().sum() * 0.0
    outside = torch.tensor(-math.inf, dtype=eta.dtype, device=eta.device)
    together = (time == days[:, None]) & event
    everyone = torch.logsumexp(torch.where(time >= days[:, None], eta, outside), dim=1)
    tied = torch.logsumexp(torch.where(together, eta, outside), dim=1)
    earlier = torch.tril(days == days[:, None], diagonal=-1).sum(dim=1)
    share = earlier.double() / together.sum(dim=1)
    return (everyone + torch.log1p(-share * torch.exp(tied - everyone)) - at).mean()


class RiskMemory:
    """Log hazard that each training row had when it was last seen: the risk set of a batch is the whole training set.

    The loss of a batch is the partial likelihood of all training rows, in which the other rows' risks are those of
    their own last batch, at most an epoch old. Its gradient for the rows of the batch is theirs in the full partial
    likelihood, times known rows over known rows in the batch, so that its mean over batches is the full gradient. A
    partial likelihood within batches would be another likelihood: its risk sets are samples.

    Parameters
    ----------
    target : Tensor, shape (n, 2)
        Days and event of all training rows.
    risks : Tensor, shape (n,), optional
        State of an interrupted training; NaN for a row not seen yet, which is in no risk set.
    """

    def __init__(self, target: Tensor, risks: Tensor | None = None) -> None:
        self.target = target
        self.known = torch.isfinite(target).all(dim=1)
        empty = torch.full((len(target),), math.nan, dtype=torch.float64, device=target.device)
        self.risks = empty if risks is None else risks.to(empty)
        self.seen = torch.isfinite(self.risks)

    def loss(self, risk: Tensor, places: Tensor) -> Tensor:
        """Loss of the rows at `places`, whose risks are taken into the memory; 0 when no follow-up is known."""
        known = self.known[places]
        live, where = risk.double()[known], places[known]
        if not len(where):
            return risk.double()[known].sum()
        self.risks[where], self.seen[where] = live.detach(), True
        seen = torch.nonzero(self.seen)[:, 0]
        scaled = live.detach() + (len(seen) / len(where)) * (live - live.detach())
        return cox_loss(self.risks.index_copy(0, where, scaled)[seen], self.target[seen])


def discrete_loss(logits: Tensor, target: Tensor, ends: Tensor) -> Tensor:
    """Mean negative log likelihood of survival in intervals; 0 when no follow-up is known.

    Parameters
    ----------
    logits : Tensor, shape (n, k)
        Logits of the hazards: of the event in an interval for who has reached it.
    target : Tensor, shape (n, 2)
        Days and event. Censored in an interval: it counts as survived from its middle on. An event after the last
        interval is survival of all of them.
    ends : Tensor, shape (k,)
        Days on which the intervals end; an event on that day is inside.

    References
    ----------
    Gensheimer and Narasimhan, PeerJ 2019, 7:e6257.
    """
    known = torch.isfinite(target).all(dim=1)
    time, event = torch.nan_to_num(target[:, :1]), target[:, 1:] == 1
    starts = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
    reached = torch.where(event, time > ends, time >= (starts + ends) / 2)
    died = event & (time > starts) & (time <= ends) | (event & (time <= 0) & (starts == 0))
    logits = logits.float()
    terms = (functional.softplus(logits) * reached + functional.softplus(-logits) * died).sum(dim=1)
    return (terms * known).sum() / known.sum().clamp(min=1)


def expected_survival(logits: Tensor, ends: Tensor) -> Tensor:
    """Expected days alive until the end of the last interval, shape (n,): area under S(t), linear within intervals."""
    hazard = torch.sigmoid(logits.double())
    alive = torch.cumprod(1 - hazard, dim=1)
    before = torch.cat([torch.ones_like(alive[:, :1]), alive[:, :-1]], dim=1)
    ends = ends.double()
    width = torch.diff(ends, prepend=torch.zeros_like(ends[:1]))
    return ((alive + before) / 2 * width).sum(dim=1)


class TaskLoss(nn.Module):
    """Weighted sum of the losses of a network's tasks.

    ``fixed`` weights are those of the configuration. With ``uncertainty`` they are learnt: a task has a parameter s and
    adds ``exp(-s) loss + s / 2``; s starts where the weight ``exp(-s)`` is the configured one. A task of which a batch
    has no label leaves its s alone.

    Parameters
    ----------
    tasks : Tasks

    References
    ----------
    Kendall, Gal and Cipolla, CVPR 2018, 7482 (the form for likelihoods of classes: every loss here is one).
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self.heads = tasks.heads
        self.start = tasks.weights
        self.log_variance = nn.Parameter(-torch.tensor(list(self.start.values())).log()) if tasks.learnt else None

    def weights(self) -> dict[str, float]:
        """Weight of each task now."""
        if self.log_variance is None:
            return dict(self.start)
        return dict(zip(self.start, torch.exp(-self.log_variance).tolist(), strict=True))

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        memories: Mapping[str, RiskMemory] | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and the loss of each task.

        Parameters
        ----------
        outputs, targets : mapping
            By task; `targets` has the masks as ``segmentation``.
        memories : mapping, optional
            Risks of the training set, by endpoint; without them the risk sets are the given rows.
        places : Tensor, optional
            Rows of the training set that are given.
        """
        parts, terms = {}, []
        for number, (name, start) in enumerate(self.start.items()):
            if memories is not None and places is not None and name in memories:
                loss = memories[name].loss(outputs[name], places)
            else:
                loss = self._loss(name, outputs[name], targets[name])
            parts[name] = loss.detach()
            if self.log_variance is None:
                terms.append(start * loss)
                continue
            s = self.log_variance[number]
            terms.append((torch.exp(-s) * loss + s / 2) * _labelled(targets[name]))
        return torch.stack([term.double() for term in terms]).sum(), parts

    def _loss(self, name: str, output: Tensor, target: Tensor) -> Tensor:
        if name == SEGMENTATION:
            return segmentation_loss(output, target)
        head = self.heads[name]
        if head.loss == "cox":
            return cox_loss(output, target)
        if head.loss == "discrete":
            return discrete_loss(output, target, torch.tensor(head.intervals_days).to(target))
        return response_loss(output, target)


def _labelled(target: Tensor) -> Tensor:
    """Whether any row's label is known."""
    return torch.isfinite(target.flatten(1) if target.ndim > 1 else target[:, None]).all(dim=1).any()
