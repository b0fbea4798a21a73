"""Writing the phantom's cards and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hccflow.phantom import tables
from hccflow.phantom.faults import planted_faults
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.truth import bayes_truth
from hccflow.tables import write_table, write_text


def write_study(cards: Mapping[str, Mapping[str, Any]], out: str | Path) -> None:
    """Write ``<out>/<cohort>/`` with card, tables and ``truth.json`` for every card; no images.

    A table of which nothing was measured is not written. The first cohort also gets ``genesets.gmt``, which all share.
    """
    # The truth depends on neither size, scanners nor faults: cohorts that share the rest share the computation.
    truths: dict[str, dict[str, Any]] = {}
    for i, (name, card) in enumerate(cards.items()):
        folder = Path(out) / name
        p = Parameters.from_card(card)
        planted_faults(p)
        key = repr(replace(p, groups=[], scanners={}, faults={}))
        if key not in truths:
            truths[key] = bayes_truth(p)
        participants, lesions = tables.participants_and_lesions(p, card["batches"])
        write_table(participants, folder / "participants.tsv")
        if len(lesions):
            write_table(lesions, folder / "lesions.tsv")
        if p.biology.rna_fraction:
            write_table(tables.rna(p), folder / "rna.tsv")
        if p.biology.histology_fraction:
            write_table(tables.histology(p), folder / "histology.tsv")
        if i == 0 and any(Parameters.from_card(one).biology.rna_fraction for one in cards.values()):
            write_text(folder / "genesets.gmt", tables.gmt_text(tables.gene_sets(p)))
        write_text(folder / "truth.json", json.dumps(truths[key], indent=2) + "\n")
        write_text(folder / "cohort.yaml", yaml.safe_dump(dict(card), sort_keys=False, width=120, allow_unicode=True))
