"""Training rows: the only object on which anything can be fitted.

`Development` takes the development cohorts and the study's split at the door, refuses rows of any other role and puts
internal test rows away. It hands out `Fold` objects, each with the training rows of one fit. `Fold.fit` is the only way
to fit a step, and writes down whom the step saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from hccflow.errors import FitError, LeakageError, TableError
from hccflow.ids import CohortRole, Role
from hccflow.models.targets import Target
from hccflow.tables import subjects_digest

P = ParamSpec("P")
T = TypeVar("T")
INNER_FOLDS = 5
#: Columns of the table of fits.
FITS = ["step", "repeat", "fold", "n", "subjects_digest", "detail"]


@dataclass(frozen=True)
class Fold:
    """Rows from which one fit may learn.

    Attributes
    ----------
    x : pandas.DataFrame, shape (n, p)
        Predictors of training rows.
    y : numpy.ndarray, shape (n,)
        Labels of the model's endpoint, 0 or 1 (of a survival endpoint 1 for the event). NaN, where unknown, only in
        rows that teach a network another endpoint.
    subjects : numpy.ndarray, shape (n,)
        Keys ``cohort/subject``; rows of one subject stay together in inner folds.
    path : tuple of int
        Seed, repeat, fold and inner fold: names the stream of random numbers.
    repeat, fold : int or None
        None in the final fit on all training rows.
    log : list of dict
        The table of fits, shared by all folds of a model.
    prefix : str
        Put before the names of steps inside inner folds.
    targets : mapping
        Every endpoint that the model learns, its own first.
    outlines : mapping
        Features of the same rows inside other outlines of the same structure, by region; never predictors.
    """

    x: pd.DataFrame
    y: np.ndarray
    subjects: np.ndarray
    path: tuple[int, ...]
    repeat: int | None = None
    fold: int | None = None
    log: list[dict[str, Any]] = field(default_factory=list, repr=False)
    prefix: str = ""
    targets: Mapping[str, Target] = field(default_factory=dict, repr=False)
    outlines: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int:
        """Seed of this fold's learners (31 bits)."""
        return int(np.random.SeedSequence(self.path).generate_state(1)[0] >> 1)

    def fit(self, step: str, learn: Callable[Concatenate[Fold, P], T], /, *args: P.args, **options: P.kwargs) -> T:
        """Fit a step on these rows and write down who was seen; the step's ``detail`` says what came out."""
        fitted = learn(self, *args, **options)
        self.record(step, getattr(fitted, "detail", ""))
        return fitted

    def record(self, step: str, detail: str) -> None:
        """Append a row to the table of fits."""
        keys = (
            f"{self.prefix}{step}",
            self.repeat,
            self.fold,
            len(self.y),
            subjects_digest(list(self.subjects)),
            detail,
        )
        self.log.append(dict(zip(FITS, keys, strict=True)))

    def through(self, apply: Callable[[pd.DataFrame], pd.DataFrame]) -> Fold:
        """Return the same rows after a fitted step."""
        return replace(self, x=apply(self.x))

    def part(self, take: np.ndarray) -> Fold:
        """Some of the rows (a mask), as a fold of its own."""
        targets = {name: target.take(take) for name, target in self.targets.items()}
        outlines = {roi: values[take] for roi, values in self.outlines.items()}
        return replace(
            self, x=self.x[take], y=self.y[take], subjects=self.subjects[take], targets=targets, outlines=outlines
        )

    def known(self, endpoint: str) -> Fold:
        """Return the rows that know one of the endpoints, which becomes the label."""
        target = self.targets[endpoint]
        return replace(self, y=target.y, targets={endpoint: target}).part(target.known)

    def inner(self, purpose: str, n_folds: int = INNER_FOLDS) -> Iterator[tuple[Fold, pd.DataFrame, np.ndarray]]:
        """Inner cross-validation inside these rows, by subject and stratified by label, also of an unknown one.

        Yields
        ------
        fold, x, y
            Training rows of the inner fold, and predictors and labels of the rows that it is judged by.

        Raises
        ------
        FitError
            A class has fewer than two subjects; of a survival endpoint the events.
        """
        labels = self.labels
        needed = [1.0] if any(target.survival for target in [*self.targets.values()][:1]) else [0.0, 1.0]
        k = min(n_folds, int(labels.value_counts().reindex(needed, fill_value=0).min()))
        if k < 2:
            raise FitError(
                "too few subjects for inner cross-validation", where=self.where, expected="at least 2 of each class",
                found=f"{int((labels == 1).sum())} positive, {int((labels == 0).sum())} negative",
                todo="use a learner and a selection without tuning, or fewer folds",
            )  # fmt: skip
        rng = np.random.default_rng(self.path)
        place: dict[str, int] = {}
        for same in (labels == 1, labels == 0, labels.isna()):
            for subject in rng.permutation(labels.index[same].to_numpy()):
                place[subject] = len(place) % k
        places = np.array([place[subject] for subject in self.subjects])
        for number in range(k):
            rest, held = places != number, places == number
            prefix = f"{self.prefix}{purpose}.{number}."
            yield replace(self.part(rest), path=(*self.path, number), prefix=prefix), self.x[held], self.y[held]

    @property
    def labels(self) -> pd.Series:
        """Label of each subject; one with several sessions is positive if any of them is."""
        return pd.Series(self.y).groupby(self.subjects).max()

    @property
    def where(self) -> str:
        """Name of the fold for messages."""
        outer = "the final fit" if self.repeat is None else f"repeat {self.repeat}, fold {self.fold}"
        return f"{outer}, {self.prefix}" if self.prefix else outer


class Development:
    """Rows of the development cohorts with the study's split; hands out folds of training rows.

    Parameters
    ----------
    subjects : pandas.DataFrame
        ``cohort, subject, session, role`` and the endpoint; every row must have the role development.
    split : pandas.DataFrame
        ``cohort, subject, role, repeat, fold``.
    x : pandas.DataFrame
        Predictors, rows as in `subjects`.
    scorable : pandas.Series of bool
        Rows that have predictors at all.
    targets : mapping
        Every endpoint that the model learns, its own first; rows as in `subjects`.
    seed : int
        Seed of the study.
    outlines : mapping, optional
        Features inside other outlines, by region; rows as in `subjects`.

    Raises
    ------
    LeakageError
        A row of another role.
    TableError
        A subject that the split does not know.
    """

    def __init__(
        self,
        subjects: pd.DataFrame,
        split: pd.DataFrame,
        x: pd.DataFrame,
        *,
        scorable: pd.Series,
        targets: Mapping[str, Target],
        seed: int,
        outlines: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        refuse_other_roles(subjects)
        self.rows = subjects.reset_index(drop=True)
        self.keys = (self.rows["cohort"] + "/" + self.rows["subject"]).to_numpy(dtype=object)
        self._x = x.set_axis(self.rows.index)
        self._outlines = {roi: values.set_axis(self.rows.index) for roi, values in (outlines or {}).items()}
        self.targets = dict(targets)
        self.endpoint = next(iter(targets))
        self.scorable = scorable.to_numpy(dtype=bool)
        self.reasons = np.where(self.scorable, "", "no features").astype(object)
        self._seed = seed
        self.log: list[dict[str, Any]] = []
        keyed = split.assign(key=split["cohort"] + "/" + split["subject"])
        unknown = sorted(set(self.keys) - set(keyed["key"]))
        if unknown:
            raise TableError(
                "a subject is not in the split",
                where="split.tsv",
                found=unknown[0],
                todo="run enrol again: hccflow split",
            )
        role = keyed.drop_duplicates("key").set_index("key")["role"]
        self.train = pd.Series(self.keys).map(role).eq(Role.TRAIN.value).to_numpy()
        self._split = keyed[keyed["role"] == Role.TRAIN.value]

    def refuse(self, reasons: Sequence[str]) -> None:
        """Make rows that cannot be scored known: a reason for each, empty for a row that can be."""
        given = np.array(reasons, dtype=object)
        self.reasons = np.where(self.reasons == "", given, self.reasons)
        self.scorable = self.scorable & (given == "")

    @property
    def teaches(self) -> np.ndarray:
        """Rows that may teach: in the training set, with predictors, and with a label of any endpoint learnt."""
        return self.train & self.scorable & np.any([target.known for target in self.targets.values()], axis=0)

    def folds(self) -> Iterator[tuple[Fold, np.ndarray, pd.DataFrame]]:
        """Folds of the cross-validation, with the positions and predictors of the rows that each is judged by."""
        places = self._split[["repeat", "fold"]].drop_duplicates().astype(int).sort_values(["repeat", "fold"])
        for repeat, number in places.to_numpy().tolist():
            rows = self._split[(self._split["repeat"] == repeat) & (self._split["fold"] == number)]
            held = np.isin(self.keys, rows["key"].to_numpy(dtype=object)) & self.train
            fold = self._fold(self.teaches & ~held, repeat, number)
            judged = np.flatnonzero(held & self.scorable)
            yield fold, judged, self._x.iloc[judged]

    def all(self) -> Fold:
        """All rows that may teach, for the final fit, the threshold and the cut."""
        return self._fold(self.teaches, None, None)

    def _fold(self, take: np.ndarray, repeat: int | None, number: int | None) -> Fold:
        path = (self._seed, 0, 0) if repeat is None or number is None else (self._seed, repeat + 1, number + 1)
        targets = {name: target.take(take) for name, target in self.targets.items()}
        y = targets[self.endpoint].y
        outlines = {roi: values[take] for roi, values in self._outlines.items()}
        fold = Fold(
            self._x[take], y, self.keys[take], path, repeat, number, self.log, targets=targets, outlines=outlines
        )
        for name, target in targets.items():
            for value, word in ((1, "positive"),) if target.survival else ((1, "positive"), (0, "negative")):
                if not (target.y == value).any():
                    raise FitError(
                        f"no {word} training row", where=f"{fold.where}, endpoint {name}",
                        expected="events" if target.survival else "both classes",
                        found=f"{int(target.known.sum())} rows",
                        todo="use fewer folds, stratify the split by this endpoint, or choose another endpoint",
                    )  # fmt: skip
        return fold


def refuse_other_roles(subjects: pd.DataFrame) -> None:
    """Raise `LeakageError` when a row does not belong to a development cohort."""
    other = subjects["role"] != CohortRole.DEVELOPMENT.value
    if other.any():
        first = subjects[other].iloc[0]
        raise LeakageError(
            f"cohort '{first['cohort']}' may not teach", where="train --subjects", expected="role development",
            found=f"role {first['role']} ({int(other.sum())} rows)", todo="give only the development cohorts",
        )  # fmt: skip
