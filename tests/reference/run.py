"""Compare every number of the reference cases with R: ``python -m tests.reference.run [FOLDER] [--out FILE.md]``.

FOLDER holds ``<case>/expected.json`` (default: ``$HCCFLOW_REFERENCE/stats``). Prints case, number, ours, R's and the
verdict; exits with 1 when a number differs. ``--out docs/verification.md`` writes the same table as a page.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from .common import VARIABLE, Row, cases_folder


def all_rows(stats: Path) -> list[Row]:
    """Rows of every module ``*_cases.py`` beside this one; each has ``rows(stats)``."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*_cases.py"))
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    return [row for module in modules for row in module.rows(stats)]


def _number(value: float | None) -> str:
    return "(undefined)" if value is None else f"{value:.10g}"


def page(rows: Iterable[Row]) -> str:
    """Build the comparison as a Markdown page."""
    rows = list(rows)
    bad = sum(row.verdict != "ok" for row in rows)
    head = [
        "# Verification against R",
        "",
        "Made by `python -m tests.reference.run --out docs/verification.md`; do not edit.",
        "R's numbers: R 4.2.2, survival 3.5-3, pROC 1.18.0, riskRegression 2022.11.28, cmprsk 2.2-11, psych 2.2.9.",
        "(undefined) is an empty value with a reason. A tolerance marked `rel` is relative to R's number above 1.",
        "`by hand`: the case written as plain tables and run through `hccflow validate` and `hccflow survive`, the",
        "number read from their `metrics.tsv`; the others are calls of the library. Where R prints a number for a",
        "monotone likelihood (standard error above 1000), undefined is expected. Of case 13, ComBat and Rubin's rules",
        "are not compared: hccflow has neither (docs/models.md says why no ComBat).",
        "",
        f"**{len(rows)} numbers compared, {bad} differ.**",
        "",
        "| case | number | ours | R | tolerance | difference | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    body = [
        f"| {r.case} | {r.number} | {_number(r.ours)} | {_number(r.r)} | "
        f"{r.tolerance:g}{' rel' if r.relative else ''} | "
        f"{'' if r.difference is None else f'{r.difference:.1e}'} | {r.verdict} |"
        for r in rows
    ]
    return "\n".join([*head, *body, ""])


def main(argv: list[str] | None = None) -> int:
    """Print the table and write the page when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=cases_folder())
    parser.add_argument("--out", type=Path, help="write the table as a Markdown page")
    args = parser.parse_args(argv)
    if args.folder is None or not args.folder.is_dir():
        print(f"reference cases not found: name their folder, or set {VARIABLE}", file=sys.stderr)  # noqa: T201
        return 2
    rows = all_rows(args.folder)
    width = max(len(row.number) for row in rows)
    for row in rows:
        print(  # noqa: T201
            f"{row.case:32} {row.number:{width}} {_number(row.ours):>16} {_number(row.r):>16} {row.verdict}"
        )
    bad = [row for row in rows if row.verdict != "ok"]
    print(f"{len(rows)} numbers compared, {len(bad)} differ")  # noqa: T201
    if args.out:
        args.out.write_text(page(rows), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
