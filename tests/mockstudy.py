"""Mock studies: cohort folders with tables and no bytes, for dry runs and parse-time checks."""

from __future__ import annotations

import copy
import hashlib
import math
from pathlib import Path
from typing import Any

import yaml

from hccflow.ids import assign_batch
from hccflow.tables import load_schema

ROOT = Path(__file__).resolve().parents[1]
COHORTS = {"phantom-dev": ("D", 20), "phantom-ext": ("E", 10), "phantom-fup": ("D", 6)}
LESIONS = load_schema("lesions")["required"]
VALUES = {"age": "60", "sex": "F", "bclc": "A", "child_pugh": "A", "afp_ng_ml": "10", "tumour_number": "1"}


def default_config() -> dict[str, Any]:
    """The default study's configuration, free to change."""
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def write_mock(
    data: Path, config: dict[str, Any] | None = None, n_batches: int = 2, per_batch: int = 0, **sizes: int
) -> Path:
    """Write cohort folders that the default configuration accepts.

    `sizes` overrides subjects per cohort (dev, ext, fup); `per_batch` chooses the number of batches by the size.
    """
    columns = list((config or default_config())["columns"])
    for cohort, (letter, size) in COHORTS.items():
        folder = data / cohort
        folder.mkdir(parents=True, exist_ok=True)
        size = sizes.get(cohort.split("-")[1], size)
        batches = math.ceil(size / per_batch) if per_batch else n_batches
        card = {"title": cohort, "batches": batches, "source": {"kind": "phantom", "parameters": {}}}
        (folder / "cohort.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
        rows = [["subject", "session", "site", "batch", *columns]]
        for number in range(size):
            subject = f"{letter}{number:05d}"
            rows.append([subject, "", "A", assign_batch(subject, batches), *(VALUES.get(c, "1") for c in columns)])
        (folder / "participants.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        for table, header in (("lesions.tsv", LESIONS), ("rna.tsv", ["subject"]), ("histology.tsv", ["subject"])):
            (folder / table).write_text("\t".join(header) + "\n", encoding="utf-8")
        (folder / "genesets.gmt").write_text("MOCK\tmock\tG1\n", encoding="utf-8")
    return data


def changed(config: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Copy of a configuration with one key changed, named by its dotted path; ``...`` removes it."""
    out = copy.deepcopy(config)
    *parents, last = dotted.split(".")
    place = out
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return out


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".snakemake_timestamp")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
