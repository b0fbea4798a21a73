"""What ``relate`` and ``relate_fit`` read alike."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hccflow.cli import _arguments
from hccflow.errors import DataAbsentError, TableError
from hccflow.participants import read_subjects
from hccflow.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Declare the arguments; `several` cohorts, or one."""
    many = "+" if several else 1
    parser.add_argument("--subjects", type=Path, nargs=many, required=True, help="subjects.tsv")
    parser.add_argument("--split", type=Path, required=True, help="split.tsv")
    parser.add_argument("--data", type=Path, nargs=many, required=True, help="cohort folder with laboratory tables")
    parser.add_argument("--predictions", type=Path, nargs="*", default=[], help="unseen scores, MODEL.predictions.tsv")
    parser.add_argument(
        "--features", type=Path, nargs="*", default=[], help="roi-NAME/features.tsv, NETWORK.features.tsv"
    )
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="sections columns, relate; seed")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def imaging(args: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Enrolled cases, scores by model, and feature tables by signature."""
    import pandas as pd

    subjects = read_subjects(args.subjects, args.settings["columns"])
    scores, features = {}, {}
    for name, spec in args.settings["relate"]["signatures"].items():
        if "model" in spec:
            scores[spec["model"]] = _joined(args.predictions, f"{spec['model']}.predictions.tsv", "predictions")
        elif "roi" in spec:
            paths = [path for path in args.features if path.parent.name == f"roi-{spec['roi']}"]
            features[name] = _joined(paths, "features.tsv", None)
        else:
            # A cohort without images has no deep features, and one where nothing was measured no table.
            if "network" in spec:
                paths = [path for path in args.features if path.name == f"{spec['network']}.features.tsv"]
            else:
                paths = [path for folder in args.data if (path := folder / spec["table"]).is_file()]
            tables = [read_table(path) for path in paths]
            empty = pd.DataFrame(columns=["subject", "session"])
            features[name] = pd.concat(tables, ignore_index=True) if tables else empty
    return subjects, scores, features


def _joined(paths: Sequence[Path], name: str, schema: str | None) -> pd.DataFrame:
    """Rows of all files of this name."""
    import pandas as pd

    found = [read_table(path, schema) for path in paths if path.name == name]
    if not found:
        raise DataAbsentError(f"no table {name} among the inputs", where="--predictions, --features")
    return pd.concat(found, ignore_index=True)


def measurements(folders: Sequence[Path], name: str) -> pd.DataFrame | None:
    """Laboratory tables of cohorts; None where no cohort has one."""
    import pandas as pd

    from hccflow.relate import read_measurements

    tables = [read_measurements(path) for folder in folders if (path := folder / name).is_file()]
    return pd.concat(tables) if tables else None


def histology(folders: Sequence[Path], options: Mapping[str, Any] | None) -> pd.DataFrame | None:
    """Histological targets of cohorts; None when the study or the cohorts have none."""
    table = measurements(folders, options["table"]) if options else None
    if options is None or table is None:
        return None
    for target in options["targets"]:
        if target not in table:
            raise TableError(f"column '{target}' is missing", where=options["table"], found=", ".join(table.columns))
    return table[options["targets"]]
