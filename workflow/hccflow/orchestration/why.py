"""Where a result comes from: from what, by what, when. Told from Snakemake's record, DVC's lock and freeze.json."""

from __future__ import annotations

import ast
import base64
import datetime
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hccflow.errors import DataAbsentError
from hccflow.orchestration.state import read_record, recorded_outputs
from hccflow.orchestration.text import columns
from hccflow.provenance import code_digest, digest_of, file_digest

#: No job takes less: a shorter one was only touched.
TOUCHED_S = 0.2
Rows = list[tuple[str, ...]]


def explain(file: Path) -> str:
    """Origin of a result as plain text.

    Parameters
    ----------
    file : Path
        A file or folder below the repository, which is the current folder.

    Raises
    ------
    DataAbsentError
        It is not there, or Snakemake has no record of it.
    """
    path, record = _find(file)
    parts = [f"{file}\n" + (f"  part of {path}\n" if path != str(file) else "")]
    for title, rows in (
        ("made from", _inputs(record)),
        ("made by", _maker(record)),
        ("when", _times(record)),
        ("kept by DVC", _kept(path)),
        ("frozen model", _frozen(path, record)),
    ):
        if rows:
            parts.append(f"{title}\n{columns(rows)}")
    return "\n".join(parts)


def _find(file: Path) -> tuple[str, dict[str, Any]]:
    if not file.exists():
        raise DataAbsentError("no such file", where=file)
    whole = file.absolute()
    path = whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else file
    for candidate in (path, *path.parents):
        record = read_record(str(candidate))
        if record is not None:
            return str(candidate), record
    raise DataAbsentError(
        "no rule has made this file, or Snakemake has no record of it", where=file,
        todo="after a dvc pull run hccflow settle first",
    )  # fmt: skip


def _inputs(record: dict[str, Any]) -> Rows:
    """Inputs with the digest that they had, and whether they still have it."""
    rows: Rows = []
    for name in record["input"]:
        then = record.get("input_checksums", {}).get(name, "").removeprefix("sha256:")
        if Path(name).is_dir():
            rows.append((name, "folder", ""))
        elif not Path(name).is_file():
            rows.append((name, then[:16], "gone since"))
        else:
            now = file_digest(name)
            rows.append((name, f"sha256 {now[:16]}", "changed since" if then and then != now else ""))
    return rows


def _maker(record: dict[str, Any]) -> Rows:
    rows: Rows = [("rule", record["rule"])]
    params = [text for text in map(_plain, record["params"]) if text]
    command = re.search(r"python -m hccflow (\w+)", record["shellcmd"] or "")
    if command:
        now = code_digest(command[1])
        rows.append(("command", f"hccflow {command[1]}"))
        rows.append(("code", now if now in params else f"not the code that is here now ({now})"))
        params = [text for text in params if text != now]
    for text in params:
        settings = _settings(text)
        if settings:
            rows.append(("seed", str(settings.get("seed", ""))))
            rows.append(("settings", f"digest {digest_of(settings)[:16]}, sections {', '.join(sorted(settings))}"))
        elif text != record["rule"]:
            rows.append(("digest" if re.fullmatch("[0-9a-f]{16,32}", text) else "parameter", text))
    if record.get("conda_env"):
        environment = hashlib.sha256(base64.b64decode(record["conda_env"])).hexdigest()[:16]
        rows.append(("environment", f"its file has sha256 {environment}, {_environment_file(environment)}"))
    rows += [("log", name) for name in record["log"]]
    return rows


def _plain(text: str) -> str:
    """Value of a parameter, which Snakemake records by its repr."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, str) else json.dumps(value)


def _settings(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _environment_file(digest: str) -> str:
    for path in sorted(Path("envs").glob("*.yaml")):
        if file_digest(path).startswith(digest):
            return str(path)
    return "which is no longer in envs/"


def _times(record: dict[str, Any]) -> Rows:
    started, ended = record["starttime"], record["endtime"]
    took = f"{ended - started:.1f} s" if ended - started > TOUCHED_S else "accepted by settle; made elsewhere"
    return [("ended", _clock(ended)), ("took", took)]


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _kept(path: str) -> Rows:
    """Entry of an output, or of the folder that holds it, in the locks of the studies."""
    rows: Rows = []
    for lock in _locks():
        outputs = recorded_outputs(lock)
        for candidate in (path, *map(str, Path(path).parents)):
            if candidate in outputs:
                rows.append((candidate, f"md5 {outputs[candidate]['md5']}", f"in {lock.with_suffix('.lock')}"))
                break
    return rows


def _locks() -> Iterator[Path]:
    yield from (path.with_suffix(".yaml") for path in [Path("dvc.lock"), *sorted(Path("studies").glob("*/dvc.lock"))])


def _frozen(path: str, record: dict[str, Any]) -> Rows:
    """Models that the file is, or was made with."""
    files = {name for name in (path, *record["input"]) if Path(name).name == "freeze.json" and Path(name).is_file()}
    files |= {str(p) for p in [Path(path).parent / "freeze.json"] if p.is_file()}
    rows: Rows = []
    for name in sorted(files):
        frozen = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        versions = ", ".join(f"{key} {value}" for key, value in sorted(frozen.get("versions", {}).items()))
        rows.append((name, f"digest {frozen['digest'][:16]}", versions))
    return rows
