"""Running a stage over the cases of one batch: a row for every case, resumable, and whole or not there at all.

A batch job declares a folder and its manifest. Cases are written into a work folder beside the outputs; a killed job
finds the finished ones there and goes on. When the last case is done the work folder is renamed to its final name and
the manifest is written last.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.errors import HccflowError
from hccflow.ids import Status
from hccflow.paths import case_stem
from hccflow.provenance import digest_of, file_digest
from hccflow.tables import write_table, write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One subject and session of one cohort, the unit of a per-subject stage."""

    cohort: str
    subject: str
    session: str = ""

    @property
    def stem(self) -> str:
        """BIDS-like stem, ``sub-<id>[_ses-<id>]``."""
        return case_stem(self.subject, self.session)


class ExcludedCaseError(HccflowError):
    """Raised by a stage for a case that is well-formed but outside the study; its row says ``excluded``."""


def run_batch(
    cases: Sequence[Case],
    work_one: Callable[[Case, Path], Mapping[str, Any]],
    *,
    folder: Path,
    manifest: Path,
    key: Mapping[str, Any],
    jobs: int = 1,
) -> pd.DataFrame:
    """Run `work_one` on every case and write the batch's folder and manifest.

    Parameters
    ----------
    cases : sequence of Case
        Every case of the batch, whatever its fate.
    work_one : callable
        ``work_one(case, folder)`` writes the case's files below `folder` (picklable when ``jobs > 1``) and returns the
        stage's own manifest columns. An `ExcludedCaseError` makes an ``excluded`` row; any other exception a ``failed``
        row with its reason. Never touches another case's files.
    folder, manifest : Path
        Final places of the batch's folder and of its manifest.
    key : mapping
        What the results depend on (settings, code digest, input digests). A work folder left by a killed job is taken
        up only when its key is the same.
    jobs : int
        Worker processes.

    Returns
    -------
    pandas.DataFrame
        The manifest: ``cohort, subject, session, status, reason``, the stage's columns, and ``digest``, the digest of
        the files that the case has made (empty when it made none).
    """
    # The final folder is deliberately not the work folder: Snakemake removes declared outputs of a failed job.
    work = folder.parent / f".{folder.name}.work"
    wanted = digest_of({"key": key, "cases": [[c.cohort, c.subject, c.session] for c in cases]})
    stamp = work / "key.txt"
    if work.exists() and not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        shutil.rmtree(work)
    (work / "files").mkdir(parents=True, exist_ok=True)
    (work / "rows").mkdir(exist_ok=True)
    write_text(stamp, wanted)
    todo = [case for case in cases if not _row_file(work, case).exists()]
    if len(todo) < len(cases):
        log.info("resuming: %d of %d cases are already done", len(cases) - len(todo), len(cases))
    _run_all(todo, work_one, work, jobs, done=len(cases) - len(todo), total=len(cases))
    rows = [json.loads(_row_file(work, case).read_text(encoding="utf-8")) for case in cases]
    first = ["cohort", "subject", "session", "status", "reason"]
    table = pd.DataFrame(rows)
    columns = first + [c for c in table.columns if c not in (*first, "digest")] + ["digest"]
    whole = [c for c in table.select_dtypes("float64") if all(isinstance(row.get(c), int | None) for row in rows)]
    table = table.astype(dict.fromkeys(whole, "Int64"))  # a count stays a count beside a case that has none
    table = table.reindex(columns=columns).sort_values(first[:3], kind="stable")
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    (work / "files").replace(folder)
    write_table(table, manifest)
    shutil.rmtree(work)
    return table


def _run_all(
    todo: Sequence[Case],
    work_one: Callable[[Case, Path], Mapping[str, Any]],
    work: Path,
    jobs: int,
    done: int,
    total: int,
) -> None:
    started = time.monotonic()

    def tell(case: Case, status: str) -> None:
        log.info("[%d/%d] %s %s (%.0f s)", done, total, case.stem, status, time.monotonic() - started)

    if jobs <= 1 or len(todo) <= 1:
        for case in todo:
            status = _run_case(case, work_one, work)
            done += 1
            tell(case, status)
        return
    with ProcessPoolExecutor(max_workers=min(jobs, len(todo))) as pool:
        pending = {pool.submit(_run_case, case, work_one, work): case for case in todo}
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                case = pending.pop(future)
                try:
                    status = future.result()
                except BrokenProcessPool as error:
                    raise HccflowError(
                        "a worker process was killed",
                        where=case.stem,
                        expected="enough memory for the worker processes",
                        todo="run the same command again with fewer cores or more memory; finished cases are kept",
                    ) from error
                done += 1
                tell(case, status)


def _row_file(work: Path, case: Case) -> Path:
    return work / "rows" / f"{case.stem}.json"


def _run_case(case: Case, work_one: Callable[[Case, Path], Mapping[str, Any]], work: Path) -> str:
    files = work / "files"
    own = files / f"sub-{case.subject}" / (f"ses-{case.session}" if case.session else "")
    if own.exists():  # left by a killed run in the middle of this case
        for path in own.glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.name.startswith("ses-") else None
            path.unlink() if path.is_file() else None
    row: dict[str, Any] = {"cohort": case.cohort, "subject": case.subject, "session": case.session}
    columns: Mapping[str, Any] = {}
    try:
        columns = work_one(case, files)
        row |= {"status": Status.OK.value, "reason": ""}
    except ExcludedCaseError as error:
        row |= {"status": Status.EXCLUDED.value, "reason": str(error)}
    except HccflowError as error:
        row |= {"status": Status.FAILED.value, "reason": str(error)}
        log.warning("%s failed: %s", case.stem, error)
    except (MemoryError, KeyboardInterrupt):
        raise
    except OSError as error:
        if error.errno is not None and error.filename is None:  # the disk, not the case: full, or gone
            raise
        row |= {"status": Status.FAILED.value, "reason": _one_line(error)}
        log.exception("%s failed", case.stem)
    except Exception as error:  # noqa: BLE001 - a corrupt case must become a row, whatever a reader library raises on it
        row |= {"status": Status.FAILED.value, "reason": _one_line(error)}
        log.exception("%s failed", case.stem)
    row |= dict(columns)
    row["digest"] = case_digest(own)
    write_text(_row_file(work, case), json.dumps(row))
    return row["status"]


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")[:500]


def case_digest(folder: Path) -> str:
    """Digest of the files of one case (names and bytes), empty when there are none."""
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    return digest_of([[path.name, file_digest(path)] for path in files])[:16] if files else ""
