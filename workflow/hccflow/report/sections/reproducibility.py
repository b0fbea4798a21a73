"""How to make this page again: versions, digests, seed, cohorts, and every file that was read."""

from __future__ import annotations

from hccflow.provenance import digest_of
from hccflow.report.page import Block, Cell, Row, Section, Table
from hccflow.report.results import Results
from hccflow.report.sections.leakage import flatten
from hccflow.report.words import caption, plural, short


def build(results: Results) -> Section:
    """Section with versions, digests, seed, and the digest of every file that this page was made from."""
    settings = results.settings
    rows = [
        Row([Cell("Study")], heading=True),
        Row([Cell("name"), Cell(str(settings["study"]))]),
        Row([Cell("seed"), Cell(str(settings["seed"]))]),
    ]
    rows.append(Row([Cell("settings of this report"), Cell(short(digest_of(settings)))]))
    for title, found in (("Digests", settings.get("digests") or {}), ("Versions", _versions(results))):
        if found:
            rows.append(Row([Cell(title)], heading=True))
            rows += [Row([Cell(key), Cell(text)]) for key, text in flatten(found)]
    cards = [(results.cohort_name(c), results.card(c)) for c in results.cohorts]
    data = [
        Row(
            [
                Cell(name),
                Cell(card.get("description", "").strip() or "not described"),
                Cell(card.get("licence", "") or "not stated"),
            ]
        )
        for name, card in cards
    ]
    files = [Row([Cell(name), Cell(short(digest))]) for name, digest in sorted(results.read.items())]
    blocks: list[Block] = [
        Table(
            "provenance",
            caption("provenance"),
            ["What", "Value"],
            rows,
            ["settings", "train/*/freeze.json"],
            text_columns=("Value",),
        ),
        Table(
            "cohorts",
            caption("cohorts"),
            ["Cohort", "Description", "Licence"],
            data,
            ["cards of the cohorts"],
            text_columns=("Description", "Licence"),
        ),
        Table(
            "files",
            caption("files", files=plural(len(files), "file")),
            ["File", "SHA-256"],
            files,
            ["the results folder"],
            text_columns=("SHA-256",),
            folded=True,
        ),
    ]
    return Section("reproducibility", "Reproducibility", blocks)


def _versions(results: Results) -> dict[str, str]:
    """Versions that the frozen models record and those of the settings; several values of one name side by side."""
    found: dict[str, set[str]] = {}
    documents = [results.document(f"train/{model}/freeze.json") or {} for model in results.models]
    for versions in [*(d.get("versions") or {} for d in documents), results.settings.get("versions") or {}]:
        for name, version in versions.items():
            found.setdefault(name, set()).add(str(version))
    return {name: ", ".join(sorted(seen)) for name, seen in found.items()}
