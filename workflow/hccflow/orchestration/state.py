"""What Snakemake and DVC have written down about results: read from their files, without starting either.

Snakemake keeps one JSON record for each output in ``.snakemake/metadata``, named by the base64 of its path; its
``endtime`` is the file's own time. DVC keeps the digest of each output in ``dvc.lock``, the list of a folder's files
in its cache. A file of which Snakemake has no record, or one of another time, was brought by DVC where it is as DVC
recorded it; otherwise somebody has changed it.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from hccflow.errors import ConfigError, EngineError

#: Links make DVC's cache and the results one file: DVC unprotects an output before a stage, it looks newer than its
#: changed input, Snakemake does nothing, and DVC certifies a stale result (docs/orchestration.md).
UNSAFE_LINKS = ("symlink", "hardlink")
#: Longest name of a part of a record's path, as Snakemake cuts it.
MAX_NAME = 255
#: Set by DVC for the command of a stage.
DVC_STAGE = "DVC_STAGE"
#: Seconds by which a network file system may change a file's time.
TOLERANCE_S = 2.0


def record_of(path: str, kind: str = "metadata") -> Path:
    """Path of Snakemake's record of an output (`kind` metadata), or of its mark while its job runs (incomplete)."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    parts = [name[i : i + MAX_NAME - 1] for i in range(0, len(name), MAX_NAME - 1)]
    return Path(".snakemake", kind, *(f"@{part}" for part in parts[:-1]), parts[-1])


def read_record(path: str) -> dict[str, Any] | None:
    """Snakemake's record of an output, or None when it has none."""
    file = record_of(path)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def check_links() -> None:
    """Refuse a DVC cache of symlinks or hardlinks.

    Raises
    ------
    ConfigError
        Names the file of configuration and the reason.
    """
    for file in (Path(".dvc/config"), Path(".dvc/config.local")):
        if not file.is_file():
            continue
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read_string(file.read_text(encoding="utf-8").replace("\t", ""))
        kinds = parser.get("cache", "type", fallback="").strip("\"' ").replace(" ", "").split(",")
        bad = [kind for kind in kinds if kind in UNSAFE_LINKS]
        if bad:
            raise ConfigError(
                f"DVC's cache is of type {bad[0]}: a linked output looks new when its input has changed, Snakemake then"
                " does nothing and DVC certifies a stale result",
                where=file, expected="reflink,copy", found=",".join(kinds),
                todo="dvc config cache.type reflink,copy, then dvc checkout --relink",
            )  # fmt: skip


def recorded_outputs(stages: Path) -> dict[str, dict[str, Any]]:
    """Outputs that ``dvc.lock`` beside a file of stages lists: digest by path relative to the repository."""
    lock = stages.with_suffix(".lock")
    if not lock.is_file():
        return {}
    document = yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
    return {out["path"]: out for stage in document.get("stages", {}).values() for out in stage.get("outs", [])}


def strange(paths: Iterable[str], stages: Path) -> Iterator[tuple[str, bool]]:
    """Those of the outputs that DVC has on record and no job here has made as they lie there.

    Parameters
    ----------
    paths : iterable of str
        Outputs of rules (files), as Snakemake names them.
    stages : Path
        The study's file of DVC stages.

    Yields
    ------
    tuple of (str, bool)
        The output, and whether its bytes are those that DVC has on record: then DVC has put it there.
    """
    unknown = [path for path in paths if Path(path).is_file() and _unknown(path)]
    outputs = recorded_outputs(stages) if unknown else {}
    for path in unknown:
        recorded = _recorded_md5(path, outputs)
        if recorded:
            yield path, hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest() == recorded


def _unknown(path: str) -> bool:
    """Whether no job of Snakemake's made this file as it lies there, and none is about to."""
    if record_of(path, "incomplete").exists():
        return False
    record = read_record(path)
    return record is None or abs(record["endtime"] - Path(path).stat().st_mtime) > TOLERANCE_S


def _recorded_md5(path: str, outputs: dict[str, dict[str, Any]]) -> str:
    """MD5 of a file as DVC recorded it, by itself or in a recorded folder; empty when DVC does not know it."""
    if path in outputs:
        return outputs[path]["md5"]
    for parent in map(str, Path(path).parents):
        if parent in outputs:
            md5 = outputs[parent]["md5"]
            listing = Path(os.environ.get("DVC_CACHE_DIR", ".dvc/cache"), "files/md5", md5[:2], md5[2:])
            if not listing.is_file():
                return ""
            inside = Path(path).relative_to(parent).as_posix()
            files = json.loads(listing.read_text(encoding="utf-8"))
            return next((file["md5"] for file in files if file["relpath"] == inside), "")
    return ""


def refuse_unsettled(paths: Iterable[str], stages: Path, settle: str) -> None:
    """Stop before anything is computed again that DVC has just brought, or recorded that somebody has changed.

    Snakemake takes a changed result for a new one and runs what follows. DVC enters the stage that should have made it,
    where Snakemake has nothing to do, and would then write the strange bytes into ``dvc.lock`` as that stage's.

    Raises
    ------
    EngineError
        One line: run settle, or put the result back.
    """
    for path, as_recorded in strange(paths, stages):
        if as_recorded:
            raise EngineError(
                "these results come from DVC and Snakemake does not know them yet", where=path,
                todo=f"{settle} (seconds), or remove the study's results to compute all of it again",
            )  # fmt: skip
        if DVC_STAGE in os.environ:
            raise EngineError(
                "this result was changed after its job had made it, and DVC would record it as made here", where=path,
                todo=f"dvc checkout --force, then {settle}; or remove it, and its job makes it again",
            )  # fmt: skip
