"""Does an imaging signature mean something biologically? Genes, gene sets, histology, arms of treatment."""

from __future__ import annotations

from hccflow.relate.fitting import Frozen, frozen_from, learn
from hccflow.relate.matching import read_measurements
from hccflow.relate.sets import read_gmt
from hccflow.relate.signatures import signature_table
from hccflow.relate.stage import Cohort, Result, relate

__all__ = [
    "Cohort", "Frozen", "Result", "frozen_from", "learn", "read_gmt", "read_measurements", "relate", "signature_table",
]  # fmt: skip
