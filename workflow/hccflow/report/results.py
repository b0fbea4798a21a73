"""The results of a study as the report reads them; it remembers every file that it opened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.errors import ConfigError, TableError
from hccflow.ids import CLINICAL_COX, CohortRole
from hccflow.metrics.estimate import COLUMNS
from hccflow.provenance import file_digest
from hccflow.tables import read_table

REQUIRED = ("study", "seed", "title", "cohorts", "columns", "endpoints", "models", "primary")
#: What tells the rows of the metrics table apart, besides `at` and `repeat`.
KEY = ["metric", "cohort", "endpoint", "model", "comparator", "group"]
#: What a metric among subjects of one fold adds to the name of the pooled one.
WITHIN = "_within_folds"
#: Kinds of scores that a cohort may have both of, as `group` names them.
OOF, FROZEN = "kind=oof", "kind=frozen"
ROLE_WORDS = {"development": "development", "external": "external", "followup": "follow-up"}


class Results:
    """A study's results folder beside the parts of its configuration that a reader needs.

    Parameters
    ----------
    root : Path
        Folder of the study's results.
    settings : mapping
        ``study, seed, title, cohorts, columns, endpoints, models, primary`` and, where the study has them, ``summary,
        eligibility, split, imaging, extract, validate, survive, report, cards, truth, versions, digests``.

    Raises
    ------
    ConfigError
        A needed section is missing.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        for name in REQUIRED:
            if name not in settings:
                raise ConfigError(f"section '{name}' is missing", where="--settings", expected=", ".join(REQUIRED))
        self.root, self.settings = root, settings
        self.read: dict[str, str] = {}

    # names ------------------------------------------------------------------------------------------------------

    @property
    def cohorts(self) -> list[str]:
        """Cohorts: those that may teach first, then external ones, then follow-up, each in the order given."""
        return sorted(self.settings["cohorts"], key=lambda cohort: list(ROLE_WORDS).index(self.role(cohort)))

    @property
    def development(self) -> list[str]:
        """Cohorts that may teach."""
        return [c for c in self.cohorts if self.role(c) == CohortRole.DEVELOPMENT]

    @property
    def models(self) -> list[str]:
        """Models in the order of the configuration."""
        return list(self.settings["models"])

    def role(self, cohort: str) -> str:
        """Role of a cohort in this study."""
        return self.settings["cohorts"][cohort]["role"]

    def role_word(self, cohort: str) -> str:
        """Role of a cohort as prose."""
        return ROLE_WORDS[self.role(cohort)]

    def subset_of(self, cohort: str) -> str:
        """Development cohort with which a cohort shares subjects, or empty."""
        return self.settings["cohorts"][cohort].get("subset_of") or ""

    def card(self, cohort: str) -> Mapping[str, Any]:
        """Card of a cohort (title, description, licence), as far as the settings carry it."""
        return self.settings.get("cards", {}).get(cohort, {})

    def cohort_name(self, cohort: str) -> str:
        """Title of a cohort, or its identifier; a name that is no cohort (a pool of them) stands as it is."""
        return self.card(cohort).get("title") or cohort

    def label(self, kind: str, name: str) -> str:
        """Label of one of the `models`, `columns` or `endpoints`; a name that is not declared stands as it is."""
        if name == CLINICAL_COX:
            return "Clinical Cox model"
        spec = self.settings[kind].get(name) or {}
        text = spec.get("label") or name
        return f"{text}, {spec['unit']}" if spec.get("unit") else text

    def endpoints(self, kind: str) -> list[str]:
        """Endpoints of one kind (``binary`` or ``survival``)."""
        return [name for name, spec in self.settings["endpoints"].items() if spec["kind"] == kind]

    # files ------------------------------------------------------------------------------------------------------

    def path(self, relative: str) -> Path | None:
        """Path of a result, remembered with its digest; None when this study does not have it."""
        path = self.root / relative
        if not path.is_file():
            return None
        self.read.setdefault(relative, file_digest(path))
        return path

    def table(self, relative: str, schema: str | None = None) -> pd.DataFrame | None:
        """Table of the results, or None when this study does not have it."""
        path = self.path(relative)
        return None if path is None else read_table(path, schema)

    def need(self, relative: str, columns: Sequence[str] = (), schema: str | None = None) -> pd.DataFrame:
        """Read a table without which there is no report."""
        table = self.table(relative, schema)
        if table is None:
            table = read_table(self.root / relative)  # raises the one message for an absent table
        return require(table, columns, relative)

    def document(self, relative: str) -> dict[str, Any] | None:
        """Read a JSON document of the results, or None."""
        path = self.path(relative)
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))

    def find(self, pattern: str) -> list[str]:
        """Relative names of the results that match a glob, sorted."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern) if path.is_file())

    # tables that several sections share -------------------------------------------------------------------------

    @cached_property
    def subjects(self) -> dict[str, pd.DataFrame]:
        """Enrolled cases of every cohort."""
        return {c: self.need(f"enrol/{c}/subjects.tsv", ("subject", "session", "site", "role")) for c in self.cohorts}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All metrics of validate and survive in one table, with the file of each row in ``source``."""
        found = self.find("validate/*/metrics.tsv") + self.find("survive/*/metrics.tsv")
        tables = [self.need(name, schema="metrics").assign(source=name) for name in found]
        if not tables:
            return pd.DataFrame(columns=[*COLUMNS, "source"])
        return pd.concat(tables, ignore_index=True)

    def rows(self, metric: str | Sequence[str], **where: str) -> pd.DataFrame:
        """Rows of the metrics with this name (or one of these) and these values, all repeats together."""
        table = self.metrics[self.metrics["repeat"].isna()]
        names = [metric] if isinstance(metric, str) else list(metric)
        keep = table["metric"].isin(names)
        for name, value in where.items():
            keep &= table[name] == value
        return table[keep]

    @cached_property
    def _by_key(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """First row of each metric, cohort, endpoint, model, comparator and group."""
        table = self.metrics[self.metrics["repeat"].isna()].drop_duplicates(KEY)
        return {tuple(record[name] for name in KEY): record for record in records(table)}

    def one(
        self, metric: str, *, cohort: str, endpoint: str, model: str, comparator: str = "", group: str = ""
    ) -> dict[str, Any] | None:
        """Return the one row of a metric, of the whole cohort unless `group` is given; None when there is none."""
        return self._by_key.get((metric, cohort, endpoint, model, comparator, group))

    @cached_property
    def _mixed(self) -> set[tuple[str, str]]:
        rows = self.rows(["auc", "c_harrell"], group=OOF)
        return set(zip(rows["cohort"], rows["endpoint"], strict=True))

    def mixed(self, cohort: str, endpoint: str) -> bool:
        """Whether a cohort has out-of-fold and frozen scores, which validate and survive then tell apart."""
        return (cohort, endpoint) in self._mixed

    def part(self, cohort: str, endpoint: str) -> str:
        """Group of the rows that stand for a cohort: of a development cohort with a test part the out-of-fold one.

        Its frozen part is another answer, the internal validation; of both together no model is judged.
        """
        return OOF if self.role(cohort) == CohortRole.DEVELOPMENT and self.mixed(cohort, endpoint) else ""

    def judged(
        self, metric: str, *, cohort: str, endpoint: str, model: str, comparator: str = ""
    ) -> dict[str, Any] | None:
        """Return the row of an AUC, of a C or of a difference of two AUCs by which the page judges a cohort.

        Of a development cohort it is the row within folds, where there is one, of the cohort's `part`.
        """
        where = {"cohort": cohort, "endpoint": endpoint, "model": model, "group": self.part(cohort, endpoint)}
        names = [metric + WITHIN, metric] if self.role(cohort) == CohortRole.DEVELOPMENT else [metric]
        found = (
            self.gap(name, comparator=comparator, **where) if comparator else self.one(name, **where) for name in names
        )
        return next((row for row in found if row is not None), None)

    def gap(
        self, metric: str, *, cohort: str, endpoint: str, model: str, comparator: str, group: str = ""
    ) -> dict[str, Any] | None:
        """Return the row of a difference, model minus comparator, turned round when it was written the other way."""
        where = {"cohort": cohort, "endpoint": endpoint, "group": group}
        row = self.one(metric, model=model, comparator=comparator, **where)
        if row is not None:
            return row
        row = self.one(metric, model=comparator, comparator=model, **where)
        if row is None:
            return None
        turned = {"value": -row["value"], "ci_low": -row["ci_high"], "ci_high": -row["ci_low"]}
        return {**row, **turned, "model": model, "comparator": comparator}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def groups(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Parts of a table by columns of text, in the order of their first appearance."""
    for key, part in table.groupby(by, sort=False):
        yield tuple(str(value) for value in key), part


def require(table: pd.DataFrame, columns: Sequence[str], where: str) -> pd.DataFrame:
    """Return the table when it has these columns, else raise `TableError`."""
    for name in columns:
        if name not in table.columns:
            raise TableError(
                f"column '{name}' is missing", where=where, expected=", ".join(columns), found=", ".join(table.columns)
            )
    return table
