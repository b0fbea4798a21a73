"""A batch: a row for every case, resumable after a kill, and whole or not there at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hccflow.batch import Case, ExcludedCaseError, run_batch
from hccflow.errors import GeometryError, HccflowError
from hccflow.paths import case_file
from hccflow.tables import read_table

CASES = [Case("c", name) for name in ("A1", "B2", "C3", "D4")]


def convert(case: Case, folder: Path) -> Mapping[str, Any]:
    """Write a file for good cases; the others fail, are excluded, or raise what a library might."""
    if case.subject == "B2":
        raise GeometryError("a slice is missing", where=case.stem)
    if case.subject == "C3":
        raise ExcludedCaseError("outside the study")
    if case.subject == "D4":
        raise ValueError("truncated\nfile")
    path = folder / case_file(case.subject, case.session, "out", ext=".txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(case.subject, encoding="utf-8")
    return {"n_slices": 3}


def run(tmp_path: Path, work_one: Any = convert, **more: Any) -> Any:
    where = {"folder": tmp_path / "batch-01", "manifest": tmp_path / "batch-01.tsv", "key": {"v": 1}}
    return run_batch(CASES, work_one, **(where | more))


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_case_has_a_row(tmp_path: Path, jobs: int) -> None:
    run(tmp_path, jobs=jobs)
    table = read_table(tmp_path / "batch-01.tsv", "manifest").set_index("subject")
    assert table["status"].to_dict() == {"A1": "ok", "B2": "failed", "C3": "excluded", "D4": "failed"}
    assert table.loc["B2", "reason"] == "a slice is missing; where: sub-B2"
    assert table.loc["D4", "reason"] == "ValueError: truncated file"
    assert table.loc["A1", "n_slices"] == 3
    assert len(table.loc["A1", "digest"]) == 16 and table.loc["B2", "digest"] == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["batch-01", "batch-01.tsv"]


def test_a_number_that_only_some_cases_have_stays_whole(tmp_path: Path) -> None:
    run(tmp_path, lambda case, folder: {"fold": 3 if case.subject == "A1" else None, "size": 2.0})
    lines = (tmp_path / "batch-01.tsv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split("\t")
    cells = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    assert [(cell["fold"], cell["size"]) for cell in cells] == [("3", "2.0"), *[("", "2.0")] * 3]


class StopError(BaseException):
    """Stands for a kill: not an Exception, so nothing in the batch may swallow it."""


def test_a_killed_batch_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "calm")
    seen: list[str] = []

    def dies(case: Case, folder: Path) -> Mapping[str, Any]:
        if case.subject == "C3":
            raise StopError
        seen.append(case.subject)
        return convert(case, folder)

    with pytest.raises(StopError):
        run(tmp_path / "killed", dies)
    assert not (tmp_path / "killed" / "batch-01.tsv").exists() and not (tmp_path / "killed" / "batch-01").exists()

    def counts(case: Case, folder: Path) -> Mapping[str, Any]:
        seen.append(case.subject)
        return convert(case, folder)

    run(tmp_path / "killed", counts)
    assert seen == ["A1", "B2", "C3", "D4"], "finished cases are not done again"
    for path in ("batch-01.tsv", "batch-01/sub-A1/sub-A1_out.txt"):
        assert (tmp_path / "killed" / path).read_bytes() == (tmp_path / "calm" / path).read_bytes()


def test_work_left_under_another_key_is_not_taken_up(tmp_path: Path) -> None:
    def dies(case: Case, folder: Path) -> Mapping[str, Any]:
        if case.subject == "C3":
            raise StopError
        return convert(case, folder)

    with pytest.raises(StopError):
        run(tmp_path, dies)
    seen: list[str] = []

    def counts(case: Case, folder: Path) -> Mapping[str, Any]:
        seen.append(case.subject)
        return convert(case, folder)

    run(tmp_path, counts, key={"v": 2})
    assert seen == ["A1", "B2", "C3", "D4"]


def test_a_full_disk_is_not_a_failed_case(tmp_path: Path) -> None:
    def full(case: Case, folder: Path) -> Mapping[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, full)
    assert not (tmp_path / "batch-01.tsv").exists()


def killed(case: Case, folder: Path) -> Mapping[str, Any]:
    """Die as a worker does that the kernel killed for memory."""
    os._exit(137)


def test_a_killed_worker_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(HccflowError, match="a worker process was killed.*fewer cores or more memory"):
        run(tmp_path, killed, jobs=2)
    assert not (tmp_path / "batch-01.tsv").exists()
