"""Tables: TSV, UTF-8, LF, sorted, empty = missing, checked against a schema at the door.

A schema is a JSON Schema of one row (``workflow/schemas/<name>.schema.yaml``). The subset in use is ``type``,
``pattern``, ``enum``, ``minimum``, ``maximum``, ``required`` and ``additionalProperties``; it is checked column by
column, so ten thousand rows cost milliseconds.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hccflow.errors import DataAbsentError, TableError

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
#: A decimal number; an exponent of four digits is no number but part of a digest.
_NUMBER = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*"
#: Columns that are identifiers even where no schema says so: "007" must not become 7.
TEXT_COLUMNS = frozenset(
    {
        *("study", "cohort", "subject", "session", "site", "batch", "role", "status", "reason", "digest"),
        *("model", "endpoint", "kind", "group", "comparator", "metric", "ci_method"),
        *("roi", "channel", "reader", "timepoint", "series_uid", "path", "sha256"),
    }
)


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Schema of a table row by its name, for example ``"participants"``."""
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def read_table(path: str | Path, schema: str | Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read a TSV table; with a schema, check it and give every column its type.

    Parameters
    ----------
    path : path
        Tab-separated, UTF-8, one header line. An empty cell is missing; nothing else is ("NA" is a string).
    schema : str or mapping, optional
        Name of a schema in ``workflow/schemas``, or the schema itself.

    Returns
    -------
    pandas.DataFrame
        Identifiers as ``str`` (missing = ``""``), numbers as ``float64`` (missing = NaN), integers as ``Int64``.

    Raises
    ------
    DataAbsentError
        The file is not there.
    TableError
        A column is missing or unknown, or a cell does not follow the schema; names file, line and column.
    """
    text = read_text_table(path)
    if schema is None:
        return _guess_types(text)
    rules = load_schema(schema) if isinstance(schema, str) else schema
    return check_table(text, rules, where=path)


def read_text_table(path: str | Path) -> pd.DataFrame:
    """Read a TSV table as it stands, every cell a string."""
    path = Path(path)
    if not path.is_file():
        raise DataAbsentError("table not found", where=path, todo="check the path, or run the stage that makes it")
    try:
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError("not a readable UTF-8 TSV table", where=path, found=str(error)) from error


def check_table(text: pd.DataFrame, schema: Mapping[str, Any], *, where: object) -> pd.DataFrame:
    """Check a table of strings against a row schema and return it typed (see `read_table`)."""
    properties: Mapping[str, Any] = schema["properties"]
    for column in schema.get("required", ()):
        if column not in text.columns:
            raise TableError(
                f"column '{column}' is missing",
                where=where,
                expected=", ".join(schema["required"]),
                found=", ".join(text.columns),
            )
    if text.columns.duplicated().any():
        raise TableError("a column stands twice", where=where, found=text.columns[text.columns.duplicated()][0])
    extra = schema.get("additionalProperties", False)
    typed: dict[str, pd.Series] = {}
    for column in text.columns:
        if column in properties:
            typed[column] = _check_column(text[column], properties[column], where=where)
        elif extra is False:
            near = difflib.get_close_matches(column, list(properties), n=1)
            raise TableError(
                f"unknown column '{column}'",
                where=where,
                expected=", ".join(properties),
                todo=f"did you mean '{near[0]}'?" if near else "remove it, or declare it",
            )
        else:
            typed[column] = _guess_types(text[[column]])[column]
    return pd.DataFrame(typed, index=text.index)


def _check_column(cells: pd.Series, rule: Mapping[str, Any], *, where: object) -> pd.Series:
    kinds = rule.get("type", "string")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    empty = cells == ""
    if "null" not in kinds and empty.any():
        _refuse(cells, empty, "an empty cell", rule, where)
    if "enum" in rule:
        allowed = [str(value) for value in rule["enum"] if value is not None]
        numeric = {"number", "integer"} & set(kinds)
        known = _numbers(cells).isin([float(value) for value in allowed]) if numeric else cells.isin(allowed)
        _refuse(cells, ~empty & ~known, f"one of {', '.join(allowed)}", rule, where)
    if "pattern" in rule:
        _refuse(cells, ~empty & ~cells.str.fullmatch(rule["pattern"]), f"match of {rule['pattern']}", rule, where)
    if "number" not in kinds and "integer" not in kinds:
        return cells
    numbers = _numbers(cells)
    _refuse(cells, ~empty & numbers.isna(), "a number", rule, where)
    if "minimum" in rule:
        _refuse(cells, numbers < rule["minimum"], f"at least {rule['minimum']}", rule, where)
    if "maximum" in rule:
        _refuse(cells, numbers > rule["maximum"], f"at most {rule['maximum']}", rule, where)
    if "integer" in kinds and "number" not in kinds:
        _refuse(cells, numbers.notna() & (numbers % 1 != 0), "a whole number", rule, where)
        return numbers.astype("Int64")
    return numbers.astype("float64")


def _numbers(cells: pd.Series) -> pd.Series:
    """Finite numbers of a column of text, NaN elsewhere, exact to the last bit.

    Not by `pandas.to_numeric`: it is not exact, and the process dies on a digest such as ``8e8120725283``.
    """
    known = cells.str.fullmatch(_NUMBER).to_numpy(dtype=bool)
    values = np.full(len(cells), np.nan)
    values[known] = cells.to_numpy(dtype=str)[known].astype(np.float64)
    return pd.Series(np.where(np.isfinite(values), values, np.nan), index=cells.index, name=cells.name)


def _refuse(cells: pd.Series, bad: pd.Series, expected: str, rule: Mapping[str, Any], where: object) -> None:
    bad = bad.fillna(False).astype(bool)
    if not bad.any():
        return
    row = int(bad.to_numpy().argmax())
    others = int(bad.sum()) - 1
    raise TableError(
        f"column '{cells.name}' has a value outside its domain" + (f" (and {others} more)" if others else ""),
        where=f"{where}, line {row + 2}",
        expected=expected,
        found=repr(cells.iloc[row]),
        todo=rule.get("todo"),
    )


def _guess_types(text: pd.DataFrame) -> pd.DataFrame:
    columns = {}
    for name in text.columns:
        cells = text[name]
        if name in TEXT_COLUMNS or name.endswith("_digest"):
            columns[name] = cells
            continue
        numbers = _numbers(cells)
        columns[name] = cells if (numbers.isna() & (cells != "")).any() else numbers
    return pd.DataFrame(columns, index=text.index)


def write_table(table: pd.DataFrame, path: str | Path, *, sort_by: Sequence[str] = ()) -> None:
    """Write a TSV table whole: beside its place first, then renamed. Booleans become 0 and 1.

    Floats are written with the shortest digits that read back to the same number.
    """
    out = table.sort_values(list(sort_by), kind="stable") if sort_by else table
    out = out.copy()
    for name in out.columns[[pd.api.types.is_bool_dtype(kind) for kind in out.dtypes]]:
        out[name] = out[name].astype(int)
    write_text(path, out.to_csv(sep="\t", index=False, na_rep="", lineterminator="\n"))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole (UTF-8): beside its place first, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)


def subjects_digest(subjects: Sequence[str]) -> str:
    """Digest of a set of subject keys, independent of order: names who a fitted step saw without listing them."""
    return hashlib.sha256("\n".join(sorted(set(subjects))).encode()).hexdigest()[:16]
