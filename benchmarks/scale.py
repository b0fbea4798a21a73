"""What orchestration costs: dry run, no-op and file tracking of mock studies, and the overhead of a real run.

    python benchmarks/scale.py plan --patients 1000 10000        dry run and no-op of studies without bytes
    python benchmarks/scale.py track --cases 1000                `dvc status` of so many converted cases
    python benchmarks/scale.py overhead                          the micro study: Snakemake's share of the CPU time

Each line is a JSON object: wall and CPU seconds, the largest memory of one process, and the load of the machine, which
tells how far the wall time can be believed. docs/scaling.md has the numbers and what follows from them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "workflow")]

from mockstudy import default_config, write_mock  # noqa: E402

#: Patients of a batch on a cluster: an hour of conversion or extraction, see docs/scaling.md.
PER_BATCH = 100
TICKS = os.sysconf("SC_CLK_TCK")


def measured(command: list[str], **options: Any) -> tuple[dict[str, float], str]:
    """Run a command; return wall seconds, CPU seconds of itself and of its children, peak memory, and its output.

    The kernel keeps the time of a process and of its finished children apart. Snakemake's jobs are its children, so
    `own_cpu_s` is what orchestration costs. It is read while the process runs, five times a second.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, text=True, **options)
        own = 0.0
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            own = max(own, (int(fields[11]) + int(fields[12])) / TICKS)
            time.sleep(0.2)
        process.returncode = os.waitstatus_to_exitcode(status)
        sink.seek(0)
        output = sink.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    numbers = {
        "wall_s": round(time.monotonic() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "own_cpu_s": round(own, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "load": round(os.getloadavg()[0], 1),
    }
    return numbers, output


def checkout(folder: Path) -> Path:
    """Copy of the tracked tree, without data and results."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if not name.startswith(("data/", "results/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def snakemake(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]


def count(plan: str) -> dict[str, int]:
    """Jobs of a dry run by rule."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+)\s+(\d+)$", plan, flags=re.M)}


def plan(patients: int, per_batch: int) -> None:
    """Dry run of a study that has done nothing, and of the same study when all its outputs are there."""
    with tempfile.TemporaryDirectory() as name:
        folder = checkout(Path(name))
        sizes = {"dev": patients * 6 // 10, "ext": patients * 3 // 10, "fup": patients // 10}
        write_mock(folder / "data", per_batch=per_batch, **sizes)
        numbers, output = measured(snakemake("--dry-run", "--quiet", "rules"), cwd=folder)
        report("dry run", patients=patients, per_batch=per_batch, jobs=count(output)["total"], **numbers)
        make_outputs(folder)
        subprocess.run(
            snakemake("--touch", "--forceall", "--quiet", "all"), cwd=folder, check=True, capture_output=True
        )
        numbers, output = measured(snakemake("--dry-run"), cwd=folder)
        if "Nothing to be done" not in output:
            sys.exit(f"the mock study is not complete:\n{output[-2000:]}")
        report("no-op", patients=patients, per_batch=per_batch, **numbers)


def make_outputs(folder: Path) -> None:
    """Make every output of the study, empty: the names come from Snakemake's own summary."""
    table = subprocess.run(snakemake("--summary"), cwd=folder, check=True, capture_output=True, text=True).stdout
    for line in table.splitlines():
        name = line.split("\t")[0]
        path = folder / name
        if not name.startswith(("results/", "data/", ".hccflow/")):
            continue
        if path.suffix and path.suffix != ".cam":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)


def track(cases: int) -> None:
    """`dvc status` of a folder of converted cases: seven small files each."""
    dvc = [sys.executable, "-m", "dvc"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in range(cases):
            place = folder / "convert" / f"batch-{case // PER_BATCH:02d}" / f"sub-{case:05d}"
            place.mkdir(parents=True)
            for number in range(7):
                (place / f"file{number}.nii.gz").write_bytes(f"{case} {number}".encode())
        for command in (["git", "init", "-q"], [*dvc, "init", "-q"]):
            subprocess.run(command, cwd=folder, check=True)
        numbers, _ = measured([*dvc, "add", "-q", "convert"], cwd=folder)
        report("dvc add", cases=cases, files=7 * cases, **numbers)
        numbers, _ = measured([*dvc, "status", "-q"], cwd=folder)
        report("dvc status", cases=cases, files=7 * cases, **numbers)


def overhead() -> None:
    """The micro study on one core: what Snakemake's own process costs beside its jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = checkout(Path(name))
        (folder / "config.yaml").write_text(yaml.safe_dump(default_config(), sort_keys=False), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(folder / "workflow")}
        phantom = [sys.executable, "-m", "hccflow", "phantom", "--preset", "micro", "--out", "data"]
        subprocess.run(phantom, cwd=folder, env=environment, check=True)
        patients = sum(len(p.read_text().splitlines()) - 1 for p in folder.glob("data/*/participants.tsv"))
        numbers, output = measured(snakemake("--quiet", "rules"), cwd=folder)
        share = numbers["own_cpu_s"] / numbers["cpu_s"]
        milliseconds = 1000 * numbers["own_cpu_s"] / patients
        jobs = count(output)["total"]
        report(
            "overhead", patients=patients, jobs=jobs, share=round(share, 4), ms_a_patient=round(milliseconds), **numbers
        )


def report(what: str, **numbers: float) -> None:
    print(json.dumps({"what": what, **numbers}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("plan")
    one.add_argument("--patients", type=int, nargs="+", default=[1000, 10000])
    one.add_argument("--per-batch", type=int, default=PER_BATCH)
    two = commands.add_parser("track")
    two.add_argument("--cases", type=int, nargs="+", default=[1000])
    commands.add_parser("overhead")
    args = parser.parse_args()
    if args.command == "plan":
        for patients in args.patients:
            plan(patients, args.per_batch)
    elif args.command == "track":
        for cases in args.cases:
            track(cases)
    else:
        overhead()


if __name__ == "__main__":
    main()
