"""Freezing: a model folder that nobody can change unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.errors import DataAbsentError, FreezeError
from hccflow.provenance import code_digest, digest_of, file_digest
from hccflow.tables import write_text

NAME = "freeze.json"
#: What is frozen besides the folder ``model/``: the out-of-fold scores, which later stages use in place of the model.
SCORES = "predictions.tsv"
#: Command whose code makes a model of each kind, as `freeze.json` records it.
COMMANDS = {"tabular": "train", "network": "train_network", "fusion": "fuse"}
AGAIN = "train the model again; a frozen model is never edited"


def split_digest(split: pd.DataFrame) -> str:
    """Digest of a split, independent of the order of its rows."""
    return digest_of(split.astype("string").fillna("").sort_values(list(split.columns)).to_numpy().tolist())


def frozen_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under ``model/`` and of the out-of-fold scores if any, by path relative to the folder.

    Hidden files are no part of a model: workflow engines leave their time stamps in folders.
    """
    files = sorted(path for path in [*(folder / "model").rglob("[!.]*"), folder / SCORES] if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def freeze(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``freeze.json`` for a training folder and return it.

    Parameters
    ----------
    folder : Path
        Holds ``model/`` and, for a classifier, ``predictions.tsv``.
    facts : mapping
        Model, endpoint, threshold, survival cut, digests of split, code, settings and training subjects, versions.

    Returns
    -------
    dict
        The facts, ``files`` and ``digest``, the digest of all the rest.
    """
    frozen = {**facts, "files": frozen_files(folder)}
    frozen["digest"] = digest_of(frozen)
    write_text(folder / NAME, json.dumps(frozen, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return frozen


def read_freeze(path: Path) -> dict[str, Any]:
    """Read a ``freeze.json`` and check it against its own digest, so that no threshold or cut can be edited in it.

    Raises
    ------
    DataAbsentError
        There is no such file.
    FreezeError
        It cannot be read, or was changed.
    """
    if not path.is_file():
        raise DataAbsentError("the model is not frozen", where=path, todo="run train first")
    try:
        frozen = json.loads(path.read_text(encoding="utf-8"))
        digest = digest_of({name: value for name, value in frozen.items() if name != "digest"})
    except (json.JSONDecodeError, AttributeError) as error:
        raise FreezeError("not a readable freeze.json", where=path, found=error, todo=AGAIN) from error
    if digest != frozen.get("digest"):
        raise FreezeError(
            "freeze.json was changed", where=path, expected=frozen.get("digest"), found=digest, todo=AGAIN
        )
    return frozen


def verify(folder: Path) -> dict[str, Any]:
    """Read the ``freeze.json`` of a training folder and compare every file with it.

    Raises
    ------
    DataAbsentError
        There is no ``freeze.json``.
    FreezeError
        ``freeze.json`` itself, or a file of the model, is not what was frozen; says which.
    """
    frozen = read_freeze(folder / NAME)
    there = frozen_files(folder)
    for name in sorted({*frozen["files"], *there}):
        if frozen["files"].get(name) != there.get(name):
            raise FreezeError(
                f"'{name}' is not what was frozen", where=folder,
                expected=frozen["files"].get(name, "no such file"), found=there.get(name, "no such file"), todo=AGAIN,
            )  # fmt: skip
    return frozen


def other_code(frozen: Mapping[str, Any]) -> str:
    """Say that the code that would make this model today is not the code that made it; empty where it is.

    That is no fault of the model, which is what was frozen: a frozen model outlives the program that made it, and is
    never trained again only to be judged. The workflow trains again by itself when the code of training changes.
    A choice has the kind of what it chose, and was made by the code that chooses.
    """
    now = code_digest("choose" if "chosen" in frozen else COMMANDS[frozen["kind"]])
    then = frozen["code_digest"]
    return "" if now == then else f"made by other code than the present ({then}, now {now})"


def other_settings(frozen: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Say that a model was made with other settings than those given now; empty where they are the same."""
    now, then = digest_of(settings), frozen["settings_digest"]
    return "" if now == then else f"made with other settings than the present ({then[:16]}, now {now[:16]})"
