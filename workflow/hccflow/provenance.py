"""Digests and versions: what a result was made from, and by what."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
#: An import statement of this package: `from hccflow.x import (names)` or `import names`.
IMPORT = re.compile(r"^[ \t]*(?:from (hccflow[\w.]*) import (\([^)]*\)|[^#\n]+)|import ([^#\n]+))", re.M)
COMMENT = re.compile(r"#.*")


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-like value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_digest(name: str) -> str:
    """Digest of a folder beside the library that no module imports (templates, captions, style)."""
    return digest_of({path.name: file_digest(path) for path in sorted((PACKAGE.parent / name).glob("*"))})[:16]


def series_digest(paths: Iterable[str | Path]) -> str:
    """Digest of an image series: SHA-256 of the sorted hexadecimal digests of its files, whatever they are called."""
    return hashlib.sha256("".join(sorted(file_digest(path) for path in paths)).encode()).hexdigest()


def module_file(module: str) -> Path | None:
    """File of a module of this package by its dotted name, or None when there is no such module."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, anywhere in its text, packages' ``__init__`` included.

    By pattern and not by syntax tree: every start of Snakemake reads all modules, and parsing took a fifth of it. A
    test holds the pattern against the syntax tree of every module.
    """
    path = module_file(module)
    if path is None:
        return frozenset()
    found: set[str] = set()
    for package, names, plain in IMPORT.findall(path.read_text(encoding="utf-8")):
        words = [part.split()[0] for part in COMMENT.sub("", names or plain).strip("()\n ").split(",") if part.strip()]
        found |= {package, *(f"{package}.{word}" for word in words)} if package else set(words)
    parts = [name.split(".") for name in found if name.split(".")[0] == "hccflow"]
    prefixes = {".".join(p[: i + 1]) for p in parts for i in range(1, len(p))}
    return frozenset(name for name in prefixes if name != module and module_file(name) is not None)


@cache
def closure(module: str) -> frozenset[str]:
    """A module and every module of this package that it needs, directly or not."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += imports_of(name)
    return frozenset(seen)


@cache
def code_digest(command: str) -> str:
    """Digest of all code that a stage command may run.

    It is a parameter of every Snakemake rule: it changes with a real edit of a module that the stage imports, and
    stays the same when only file times change.
    """
    modules = sorted(closure(f"hccflow.cli.{command}"))
    pairs = [[name, file_digest(path)] for name in modules if (path := module_file(name)) is not None]
    return digest_of(pairs)[:16]


def versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions; local tags such as ``+cpu`` are left out."""
    return {name: metadata.version(name).split("+")[0] for name in sorted(names)}


#: Distributions whose numbers a reader may want to make again.
LIBRARIES = (
    "numpy", "pandas", "scipy", "scikit-learn", "statsmodels", "lifelines", "firthmodels", "scikit-misc", "xgboost-cpu",
    "pyradiomics", "SimpleITK", "pydicom", "highdicom", "dcm2niix", "nibabel", "torch", "monai", "nnunetv2",
    "matplotlib", "snakemake", "dvc",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Version of Python and of those of `LIBRARIES` that are installed here."""
    there = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    return {"python": platform.python_version(), **versions(name for name in LIBRARIES if name.lower() in there)}
