"""How far a study is: stages x cohorts, told from manifests, logs and Snakemake's marks, without starting Snakemake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hccflow.orchestration.state import record_of
from hccflow.orchestration.text import columns
from hccflow.study import Study
from hccflow.tables import read_text_table

#: Reasons of a stage and cohort that are printed.
MOST_REASONS = 4


@dataclass
class Part:
    """One stage of one cohort or model: the outputs that close its jobs, and what became of them."""

    stage: str
    what: str
    outputs: Sequence[Path]
    logs: Sequence[Path] = ()
    manifests: Sequence[Path] = ()
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def running(self) -> bool:
        """Whether a job of this part has begun and not ended."""
        return any(record_of(str(path), "incomplete").exists() for path in self.outputs)

    @property
    def failed_logs(self) -> list[Path]:
        """Logs of jobs that have run and left nothing."""
        pairs = zip(self.outputs, self.logs, strict=False)
        return [log for output, log in pairs if log.is_file() and not output.exists() and not self.running]

    def read(self) -> Part:
        """Count the cases of the manifests that are there."""
        for path in self.manifests:
            if path.is_file():
                table = read_text_table(path)
                self.counts.update(table["status"])
                bad = table[table["status"] != "ok"]
                self.reasons.update((bad["status"] + ": " + bad["reason"].str.split(";").str[0]).tolist())
        return self

    def word(self) -> str:
        """State as one cell."""
        made = sum(path.exists() for path in self.outputs)
        cases = f", {self.counts['ok']} ok" if self.counts else ""
        cases += "".join(f", {self.counts[key]} {key}" for key in ("excluded", "failed") if self.counts[key])
        if made == len(self.outputs):
            return "done" + cases
        progress = f" {made} of {len(self.outputs)}" if len(self.outputs) > 1 else ""
        if self.running:
            return f"running{progress}{cases}"
        if self.failed_logs:
            return f"failed{progress}{cases}"
        return f"partly{progress}{cases}" if made else "-"


def parts_of(study: Study) -> list[Part]:
    """All stages of a study, with its cohorts or its models, in the order of the work."""
    results, logs = Path("results", study.name), Path("logs", study.name)
    config = study.config
    parts: list[Part] = []

    def per_batch(stage: str, folder: str, names: Iterable[str]) -> None:
        for name in names:
            base = Path(stage, name, folder)
            batches = [f"batch-{batch}" for batch in study.cohorts[name].batches]
            tables = [results / base / f"{batch}.tsv" for batch in batches]
            title = f"{stage} {folder}".strip()
            parts.append(Part(title, name, tables, [logs / base / f"{batch}.log" for batch in batches], tables))

    def single(stage: str, what: str, output: str, log: str, manifest: str = "") -> None:
        tables = [results / manifest] if manifest else []
        parts.append(Part(stage, what, [results / output], [logs / log], tables))

    imaged = [name for name, cohort in study.cohorts.items() if cohort.has_images]
    per_batch("convert", "", imaged)
    for name in study.cohorts:
        single("enrol", name, f"enrol/{name}/subjects.tsv", f"enrol/{name}.log", f"enrol/{name}/manifest.tsv")
    if "segment" in config:
        folds = [Path("segment/model", f"fold-{k}") for k in range(config["split"]["folds"])]
        parts.append(
            Part(
                "segment train", "folds", [results / fold / "weights.safetensors" for fold in folds],
                [logs / "segment" / f"{fold.name}.log" for fold in folds],
            )
        )  # fmt: skip
        per_batch("segment", "", imaged)
    for roi in config["extract"]["rois"]:
        per_batch("extract", f"roi-{roi}", imaged)
        for name in (name for name in study.cohorts if name not in imaged):
            base = f"extract/{name}/roi-{roi}"
            single(f"extract roi-{roi}", name, f"{base}/features.tsv", f"{base}/import.log", f"{base}/manifest.tsv")
    for crop in config["crops"]:
        per_batch("extract", f"crop-{crop}", imaged)
    for model in study.models:
        single("train", model, f"train/{model}/freeze.json", f"train/{model}.log", f"train/{model}/manifest.tsv")
    for name in study.cohorts:
        single("validate", name, f"validate/{name}/metrics.tsv", f"validate/{name}/validate.log")
    if config["survive"]["endpoints"]:
        for name in study.cohorts:
            single("survive", name, f"survive/{name}/metrics.tsv", f"survive/{name}.log")
    for name in config.get("relate", {}).get("cohorts", study.cohorts) if "relate" in config else ():
        single("relate", name, f"relate/{name}/metrics.tsv", f"relate/{name}.log")
    single("report", "study", "report/report.html", "report.log")
    return [part.read() for part in parts]


def status(study: Study) -> str:
    """Status of a study as plain text; everything comes from files, so it may be asked while the study runs."""
    parts = parts_of(study)
    names = list(study.cohorts)
    stages = list(dict.fromkeys(part.stage for part in parts))
    cell = {(part.stage, part.what): part.word() for part in parts}
    table: list[list[str]] = [["", *names]]
    others: list[list[str]] = []
    for stage in stages:
        if any((stage, name) in cell for name in names):
            table.append([stage, *(cell.get((stage, name), "") for name in names)])
        else:
            others += [[stage, part.what, cell[stage, part.what]] for part in parts if part.stage == stage]
    text = f"{study.config['title']}\n\n{columns(table)}\n{columns(others)}"
    reasons = [
        [part.stage, part.what, str(count), reason]
        for part in parts
        for reason, count in part.reasons.most_common(MOST_REASONS)
    ]
    if reasons:
        text += f"\nnot ok, by reason\n{columns(reasons)}"
    failed = [[part.stage, part.what, f"read {log}"] for part in parts for log in part.failed_logs]
    if failed:
        text += f"\nfailed jobs (the others go on; the next run tries these again)\n{columns(failed)}"
    return f"{text}\n{lock_sentence()}\n"


def lock_sentence() -> str:
    """Whether Snakemake runs here, has been killed here, or is not here."""
    if not any(Path(".snakemake/locks").glob("*.lock")):
        return "Snakemake is not running in this folder."
    process = snakemake_here()
    if process:
        return f"Snakemake is running in this folder (process {process}); a second run is refused until it has ended."
    return (
        "Snakemake has left a lock: it runs on another machine, or it was killed. If you are sure that it was killed:"
        " snakemake --unlock, then run again; what was finished is kept."
    )


def snakemake_here() -> int | None:
    """Process number of a Snakemake on this machine that works in the current folder (Linux)."""
    here = Path.cwd()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            named = any(b"snakemake" in word.rsplit(b"/", 1)[-1] for word in words[:3])
            if named and (folder / "cwd").resolve() == here:
                return int(folder.name)
        except (OSError, PermissionError):  # another user's process, or one that has just ended
            continue
    return None
