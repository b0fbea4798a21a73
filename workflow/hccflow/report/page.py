"""What a report is made of: sections of paragraphs, tables and figures, none of which knows about HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup, escape


@dataclass(frozen=True)
class Cell:
    """One cell: its text and, where a number could not be made, the reason (printed as a footnote)."""

    text: str
    note: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """One row of a table; a `heading` row carries one text over the whole width, `indent` sets a sub-row."""

    cells: Sequence[Cell]
    heading: bool = False
    indent: bool = False


@dataclass(frozen=True)
class Table:
    """A table that is both printed and written as ``tables/<name>.tsv``.

    Attributes
    ----------
    name : str
        Name of the file, letters and underscores.
    columns : sequence of str
        Headers; the first column is text, the others are set to the right unless named in `text_columns`.
    sources : sequence of str
        Files below the results folder that the numbers come from.
    folded : bool
        Printed closed, to be opened by the reader (long lists).
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    sources: Sequence[str]
    text_columns: Sequence[str] = ()
    folded: bool = False

    @property
    def notes(self) -> list[str]:
        """Reasons in the order of their first appearance; footnote a is the first."""
        return list(dict.fromkeys(cell.note for row in self.rows for cell in row.cells if cell.note))

    def mark(self, cell: Cell) -> str:
        """Footnote letter of a cell, empty when it has none."""
        return footnote_mark(self.notes.index(cell.note)) if cell.note else ""

    def is_text(self, index: int) -> bool:
        """Whether a column is set to the left."""
        return index == 0 or self.columns[index] in self.text_columns

    def frame(self) -> pd.DataFrame:
        """Return the table as written to disk: as printed, a dash as an empty cell, the reasons in a last column."""
        records = []
        group = ""
        for row in self.rows:
            if row.heading:
                group = row.cells[0].text
                continue
            texts = ["" if cell.text == DASH else cell.text for cell in row.cells]
            notes = "; ".join(dict.fromkeys(cell.note for cell in row.cells if cell.note))
            records.append([group, *texts, notes])
        out = pd.DataFrame(records, columns=["group", *self.columns, "notes"])
        return out.loc[:, [c not in ("group", "notes") or bool((out[c] != "").any()) for c in out.columns]]


@dataclass(frozen=True)
class Figure:
    """A picture: inline SVG (`svg`) or a data URI (`uri`), its text alternative and its caption."""

    caption: str
    alt: str
    sources: Sequence[str]
    svg: Markup = field(default_factory=Markup)
    uri: str = ""
    wide: bool = True  # in a gallery: over the whole row


@dataclass(frozen=True)
class Gallery:
    """Several small pictures side by side."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Text:
    """A paragraph; a str is escaped, a Markup is not."""

    text: str | Markup
    lead: bool = False


@dataclass(frozen=True)
class Callout:
    """A short framed remark: ``warning``, ``note``, or ``absent`` for a part that this study does not have."""

    kind: str
    title: str
    text: str


@dataclass(frozen=True)
class Facts:
    """A row of key numbers: (number, what it counts)."""

    items: Sequence[tuple[str, str]]
    sources: Sequence[str]


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: Sequence[str]


Block = Table | Figure | Gallery | Text | Callout | Facts | Points


@dataclass(frozen=True)
class Section:
    """One section of the report; `labels` stand beside its title, such as ``exploratory``."""

    key: str
    title: str
    blocks: Sequence[Block]
    labels: Sequence[str] = ()


DASH = "–"


def condense(names: Sequence[str]) -> list[str]:
    """Names of files, those that differ only in their second folder (a cohort, a model) written once with a star."""
    starred = {
        name: "/".join([*parts[:1], "*", *parts[2:]]) if len(parts := name.split("/")) > 2 else name for name in names
    }
    many = [star for star in starred.values() if list(starred.values()).count(star) > 1]
    return list(dict.fromkeys(starred[name] if starred[name] in many else name for name in names))


def breakable(text: str) -> Markup:
    """Text of a cell that may be broken before a bracket: a number stands above its interval where a table is wide."""
    return escape(text).replace(" (", Markup(" <wbr>("))


def footnote_mark(index: int) -> str:
    """Footnote letters: a … z, then aa, ab …"""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return letters[index] if index < 26 else letters[index // 26 - 1] + letters[index % 26]
