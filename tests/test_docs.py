"""Pages that are made from something else agree with it; committed text holds nothing it must not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from hccflow.configdoc import config_page

ROOT = Path(__file__).resolve().parents[1]


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_config_page_is_what_the_schema_says() -> None:
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == config_page(), "run `make docs`"


def test_no_absolute_path_of_a_machine_is_committed() -> None:
    pattern = re.compile(r"(^|[\s\"'(=])/(work|tmp|root|home|Users)/\w")
    bad = []
    for path in tracked():
        if path.suffix in {".py", ".smk", ".yaml", ".toml", ".md", ".tsv", ".json", ".lock"}:
            lines = path.read_text(encoding="utf-8").splitlines()
            bad += [f"{path.relative_to(ROOT)}:{n}" for n, line in enumerate(lines, 1) if pattern.search(line)]
    assert not bad


def test_every_link_of_a_page_leads_somewhere() -> None:
    bad = []
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
                if not (path.parent / target).exists():
                    bad.append(f"{path.relative_to(ROOT)} -> {target}")
    assert not bad


def test_every_proof_of_a_guard_exists_and_no_guard_is_left_out() -> None:
    text = (ROOT / "docs" / "guards.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*?) \|$", text, flags=re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 31))
    for number, row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named or "missing" in row.split("|")[-1], f"guard {number} names no test"
        for file, test in named:
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, flags=re.M), f"guard {number}: {file}::{test}"


def test_the_studies_have_simple_baselines() -> None:
    """Beside every model of images one of clinical columns, or of one named feature (size, SUVmax), on its endpoint."""
    for path in [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]:
        models = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        tables = [model for model in models.values() if model["kind"] == "tabular"]
        plain = {m["endpoint"] for m in tables if "roi" not in m or "*" not in "".join(m.get("features", "*"))}
        judged = {model["endpoint"] for model in tables}
        assert judged and judged <= plain, f"{path.name} judges {judged - plain} by no simple baseline"
