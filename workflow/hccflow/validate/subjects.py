"""What is known about the cases beside their scores: subgroups, sites, readers' labels, case mix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, TableError
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.shift import membership_auc, standardised_difference
from hccflow.validate.options import Options
from hccflow.validate.scores import CASE

MISSING = "(missing)"
DEVELOPMENT = "development"


class Subjects:
    """The enrolled cases of all cohorts that were given, development cohorts included.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        Each follows the schema ``subjects``; a case stands once per cohort.
    options : Options
    """

    def __init__(self, tables: Sequence[pd.DataFrame], options: Options) -> None:
        table = pd.concat(tables, ignore_index=True)
        for name in CASE:
            table[name] = table[name].fillna("").astype(str) if name in table else ""
        twice = table.duplicated(["cohort", *CASE])
        if twice.any():
            row = table[twice].iloc[0]
            raise TableError(
                "a case stands twice", where=f"--subjects, cohort {row['cohort']}, subject {row['subject']}"
            )
        self.table, self.options = table, options
        baseline = [name for name, spec in options.columns.items() if spec.get("available_at") == "baseline"]
        asked = options.subgroups
        self.subgroups = [n for n in ["site", *baseline] if n in table] if asked is None else list(asked)
        for name in self.subgroups:
            if name not in table:
                raise ConfigError(
                    f"no column '{name}' among the subjects",
                    where="validate.subgroups",
                    expected=", ".join(table.columns),
                )

    def of(self, cohort: str) -> pd.DataFrame:
        """Cases of one cohort, indexed by subject and session."""
        return self.table[self.table["cohort"] == cohort].set_index(CASE)

    @property
    def development(self) -> pd.DataFrame:
        """Cases of the development cohorts (none when no such table was given)."""
        return self.table[self.table["role"] == DEVELOPMENT]

    def is_category(self, name: str) -> bool:
        """Whether a column is split by its values, and not at a median."""
        kind = self.options.columns.get(name, {}).get("kind")
        if kind:
            return kind != "number"
        return name == "site" or not pd.api.types.is_numeric_dtype(self.table[name])

    def groups(self, cohort: str, name: str) -> pd.Series:
        """Subgroup of each case of a cohort by one column, as text such as ``sex=F`` or ``age>=63``.

        Numbers are split at the median of the development cases (of all cases given when there are none); missing
        values are a group of their own, and so is everybody where development has no value to split at.
        """
        cells = self.of(cohort)[name]
        if self.is_category(name):
            text = cells.map(lambda v: f"{v:g}" if isinstance(v, float) else str(v))
            return (name + "=" + text).where(cells.notna() & (text != ""), f"{name}={MISSING}")
        source = self.development if len(self.development) else self.table
        if source[name].isna().all():
            return pd.Series(f"{name}={MISSING}", index=cells.index)
        median = float(source[name].median())
        side = np.where(cells >= median, f"{name}>={median:.6g}", f"{name}<{median:.6g}")
        return pd.Series(side, index=cells.index).where(cells.notna(), f"{name}={MISSING}")

    def incomplete(self, cohort: str, columns: Sequence[str]) -> pd.Series:
        """Whether a subject of a cohort misses any of these columns, in any of its sessions."""
        table = self.of(cohort)
        blank = pd.DataFrame({name: self._blank(table[name]) for name in columns if name in table}, index=table.index)
        return blank.any(axis=1).groupby(level="subject").any()

    def readers(self, cohort: str, endpoint: str) -> pd.DataFrame:
        """Labels of an endpoint by each reader, one column per reader (all endpoints' when the scores name none)."""
        found = {}
        pattern = re.compile(rf"{re.escape(endpoint)}_reader_(.+)" if endpoint else r".+_reader_(.+)")
        table = self.of(cohort)
        for column in table.columns:
            if (match := pattern.fullmatch(column)) and table[column].notna().any():
                found[match.group(1)] = table[column].astype("float64")
        return pd.DataFrame(found, index=table.index)

    def case_mix(self, cohort: str, level: float) -> Iterator[tuple[str, str, Estimate]]:
        """(metric, column, estimate) of a cohort beside development: shares missing, differences, membership."""
        here = self.of(cohort)
        names = [
            name
            for name, spec in self.options.columns.items()
            if name in here and spec.get("available_at") != "outcome"
        ]
        for name in names:
            missing = self._blank(here[name])
            yield "missing_share", name, Estimate(float(missing.mean()), n=len(here))
        if (here["role"] == DEVELOPMENT).any():
            return
        there = self.development
        for name in names:
            yield (
                "standardised_difference", name,
                standardised_difference(*(self._known(t[name]) for t in (here, there)), category=self.is_category(name))
                if len(there) else undefined("no development subjects were given", n=len(here)),
            )  # fmt: skip
        if names and len(there):
            categories = [name for name in names if self.is_category(name)]
            ours, theirs = (pd.DataFrame({name: self._known(t[name]) for name in names}) for t in (here, there))
            seed = self.options.seed_of("membership", cohort)
            yield "membership_auc", "", membership_auc(ours, theirs, categories, seed, level)

    @staticmethod
    def _blank(cells: pd.Series) -> pd.Series:
        return cells.isna() | (cells.astype(str) == "")

    def _known(self, cells: pd.Series) -> Any:
        return cells.mask(self._blank(cells))
