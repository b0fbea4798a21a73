"""Tables are checked at the door and written whole; identifiers and file names have one form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hccflow.errors import DataAbsentError, TableError
from hccflow.ids import assign_batch, check_id
from hccflow.paths import case_file
from hccflow.tables import read_table, subjects_digest, write_table

SCHEMA = {
    "required": ["subject", "n"],
    "properties": {
        "subject": {"type": "string", "pattern": "[A-Za-z0-9]+"},
        "n": {"type": ["integer", "null"], "minimum": 0},
        "x": {"type": ["number", "null"], "maximum": 2.5},
        "level": {"type": ["string", "null"], "enum": ["a", "b"]},
    },
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_types_and_missing_values(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "subject\tn\tx\tlevel\n007\t3\t\ta\nNA\t\t2.5\t\n")
    table = read_table(path, SCHEMA)
    assert table["subject"].tolist() == ["007", "NA"], "identifiers stay text and NA is not missing"
    assert table["n"].dtype == "Int64"
    assert table["n"].isna().tolist() == [False, True]
    assert np.isnan(table["x"].iloc[0])
    assert table["level"].tolist() == ["a", ""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject\nA\n", ["column 'n' is missing"]),
        ("subject\tn\tlevl\nA\t1\ta\n", ["unknown column 'levl'", "did you mean 'level'?"]),
        ("subject\tn\nA\t1\nB\t-1\n", ["column 'n'", "line 3", "at least 0"]),
        ("subject\tn\nA\t1.5\n", ["a whole number", "'1.5'"]),
        ("subject\tn\nA\tone\nB\ttwo\n", ["a number", "'one'", "and 1 more"]),
        ("subject\tn\n\t1\n", ["column 'subject'", "an empty cell"]),
        ("subject\tn\tx\nA\t1\t3\n", ["at most 2.5"]),
        ("subject\tn\tlevel\nA\t1\tc\n", ["one of a, b", "'c'"]),
        ("subject\tn\tn\nA\t1\t1\n", ["unknown column 'n.1'"]),
    ],
)
def test_a_cell_outside_its_domain_names_file_line_and_column(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(TableError) as caught:
        read_table(write(tmp_path / "t.tsv", text), SCHEMA)
    for word in [*words, "t.tsv"]:
        assert word in str(caught.value)


def test_absent_and_unreadable_tables(tmp_path: Path) -> None:
    with pytest.raises(DataAbsentError, match="table not found"):
        read_table(tmp_path / "none.tsv")
    (tmp_path / "latin.tsv").write_bytes("subject\nM\xfcller\n".encode("latin-1"))
    with pytest.raises(TableError, match="UTF-8"):
        read_table(tmp_path / "latin.tsv")


def test_a_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    table = pd.DataFrame({"subject": ["b", "a"], "x": [0.1 + 0.2, np.nan], "flag": [True, False]})
    write_table(table, tmp_path / "out.tsv", sort_by=["subject"])
    assert (tmp_path / "out.tsv").read_bytes() == b"subject\tx\tflag\na\t\t0\nb\t0.30000000000000004\t1\n"
    back = read_table(tmp_path / "out.tsv")
    assert back["x"].iloc[1] == 0.1 + 0.2
    assert [p.name for p in tmp_path.iterdir()] == ["out.tsv"]


def test_batches_are_stable_and_identifiers_harmless() -> None:
    assert assign_batch("P01", 4) == assign_batch("P01", 4)
    assert {assign_batch(f"P{i}", 3) for i in range(100)} == {"01", "02", "03"}
    for hostile in ("a;b", "$(rm)", "../x", "a b", "", "ä", "x" * 33, "-rf", "a\n"):
        with pytest.raises(TableError):
            check_id("subject", hostile)
    assert str(case_file("P1", "w2", "mask", desc="tumour")) == "sub-P1/ses-w2/sub-P1_ses-w2_desc-tumour_mask.nii.gz"


def test_a_digest_of_subjects_ignores_order_and_repeats() -> None:
    assert subjects_digest(["a", "b"]) == subjects_digest(["b", "a", "a"]) != subjects_digest(["a"])


def test_digests_are_text_whatever_their_letters(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("name\tsubjects_digest\tvalue\tx\n8e8120725283\t1234567890123456\t 1e-3\t1e999\n", encoding="utf-8")
    row = read_table(path).iloc[0].tolist()
    assert row == ["8e8120725283", "1234567890123456", 0.001, "1e999"]
