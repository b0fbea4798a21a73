"""How to make this page again: versions, digests, seed, cohorts, and every file that was read."""

from __future__ import annotations

from hccflow.freeze import split_digest
from hccflow.provenance import digest_of
from hccflow.report.page import Block, Cell, Row, Section, Table
from hccflow.report.results import Results
from hccflow.report.words import caption, plural, short


def build(results: Results) -> Section:
    """Section with versions, digests, seed, and the digest of every file that this page was made from."""
    settings = results.settings
    rows = [
        Row([Cell("Study")], heading=True),
        Row([Cell("name"), Cell(str(settings["study"]))]),
        Row([Cell("seed"), Cell(str(settings["seed"]))]),
    ]
    own = {key: value for key, value in settings.items() if key not in ("versions", "digests")}
    rows.append(Row([Cell("settings of this report"), Cell(short(digest_of(own)))]))
    for title, found in (("Digests", _digests(results)), ("Versions", _versions(results))):
        if found:
            rows.append(Row([Cell(title)], heading=True))
            rows += [Row([Cell(key), Cell(text)]) for key, text in found.items()]
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


def _digests(results: Results) -> dict[str, str]:
    """First characters of the digests of configuration, lock, split and every frozen model."""
    found = {name: short(value) for name, value in (results.settings.get("digests") or {}).items()}
    split = results.table("enrol/split.tsv")
    if split is not None:
        found["split"] = short(split_digest(split))
    for model in results.models:
        freeze = results.document(f"train/{model}/freeze.json")
        if freeze is not None and freeze.get("digest"):
            found[f"frozen model: {results.label('models', model)}"] = short(freeze["digest"])
    return found


def _versions(results: Results) -> dict[str, str]:
    """Versions of this environment and those that the frozen models record; several of one name side by side."""
    found: dict[str, set[str]] = {}
    documents = [results.document(f"train/{model}/freeze.json") or {} for model in results.models]
    for versions in [*(d.get("versions") or {} for d in documents), results.settings.get("versions") or {}]:
        for name, version in versions.items():
            found.setdefault(name, set()).add(str(version))
    return {name: ", ".join(sorted(seen)) for name, seen in found.items()}
