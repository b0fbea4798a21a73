"""Settling: after results came from DVC, Snakemake learns that they are what it would have made."""

from __future__ import annotations

import logging
from pathlib import Path

from hccflow.errors import EngineError
from hccflow.orchestration.engines import call, dvc_status
from hccflow.orchestration.stages import dvc_place
from hccflow.orchestration.state import check_links

log = logging.getLogger(__name__)
NOTHING = "Nothing to be done"


def settle(config_file: Path) -> None:
    """Make Snakemake and DVC agree that there is nothing to do, or refuse.

    Touching while DVC sees a change would bless stale results, and touching only what Snakemake would run again would
    leave the rest without a record; so neither is done.

    Parameters
    ----------
    config_file : Path
        Configuration of the study, relative to the repository, which is the current folder.

    Raises
    ------
    EngineError
        DVC sees a change (it is named), or the two still do not agree afterwards.
    ConfigError
        DVC's cache is made of links.
    """
    check_links()
    stages = dvc_place(config_file)
    _demand_clean(stages, "before")
    configuration = [] if stages == Path("dvc.yaml") else ["--configfile", str(config_file)]
    call("snakemake", ["--touch", "--forceall", "--quiet", "all", *configuration], settling=True)
    plan = call("snakemake", ["--dry-run", *configuration], settling=True)
    if NOTHING not in plan:
        raise EngineError(
            "Snakemake still wants to run jobs", where=config_file, expected=NOTHING, found=_jobs(plan),
            todo="remove these outputs, or run snakemake to make them again",
        )  # fmt: skip
    _demand_clean(stages, "after")
    log.info("settled: Snakemake and DVC have nothing to do for %s", config_file)


def _demand_clean(stages: Path, when: str) -> None:
    if not stages.is_file():
        raise EngineError("the study has no DVC stages", where=stages, todo="hccflow init --stages")
    changed = dvc_status(stages)
    if changed:
        names = ", ".join(sorted(changed)[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise EngineError(
            f"DVC sees changes {when} settling", where=stages, expected="an empty dvc status",
            found=f"changed: {names}",
            todo="dvc pull (or dvc checkout); if you changed something yourself, take it back, settle, then change"
            " it again and run dvc repro",
        )  # fmt: skip


def _jobs(plan: str) -> str:
    lines = [line.strip() for line in plan.splitlines() if line.startswith("rule ")]
    return f"{len(lines)} jobs, first {lines[0].rstrip(':') if lines else 'unknown'}"
