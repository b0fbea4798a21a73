"""What the validation may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hccflow.provenance import digest_of


@dataclass(frozen=True)
class Options:
    """Options of `validate`, from the sections ``validate, columns, models, primary`` and the seed of a configuration.

    Attributes
    ----------
    level : float
        Level of all intervals.
    draws, curve_draws : int
        Bootstrap draws; for the flexible curves, each of which is a smoother's fit, at most 200.
    net_benefit_at : tuple of float
        Threshold probabilities of the decision curve in the table of metrics.
    subgroups : tuple of str, optional
        Columns of the subjects by which results are split; None takes the site and all columns declared at baseline.
    columns : mapping
        Declared columns (kind, label, unit, available_at), for subgroups and case mix.
    predictors : mapping
        Clinical columns that each model sees, for the results of complete cases (`predictors_of`).
    labels : mapping
        Names of models in figures.
    primary : tuple of str
        Model and comparator of the prespecified comparison: fixes the sign of their difference.
    survival : tuple of str
        Survival endpoints, whose rows the stage leaves to ``survive``.
    """

    level: float = 0.95
    draws: int = 2000
    net_benefit_at: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    subgroups: tuple[str, ...] | None = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    predictors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    primary: tuple[str, str] | None = None
    seed: int = 0
    survival: tuple[str, ...] = ()

    @property
    def curve_draws(self) -> int:
        """Draws of statistics that need a smoother."""
        return min(self.draws, 200)

    def seed_of(self, *what: str) -> int:
        """Seed of one computation: the study's, made different by what is computed."""
        return int(digest_of([self.seed, *what])[:12], 16)


def predictors_of(models: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Clinical columns that each model of a configuration sees; a fusion sees those of its inputs.

    None are told of a choice, nor of a fusion with one: whose columns those are is not in its entry.
    """
    own = {name: tuple(spec.get("columns", ())) for name, spec in models.items()}
    hidden = {name for name, spec in models.items() if spec.get("kind") == "choice"}
    return {
        name: ()
        if hidden & {name, *spec.get("inputs", ())}
        else own[name] + tuple(column for one in spec.get("inputs", ()) for column in own.get(one, ()))
        for name, spec in models.items()
    }
