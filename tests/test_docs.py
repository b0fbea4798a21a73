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


def rows_with_proofs(page: str, count: int, unproved: str) -> list[str]:
    """State of each numbered row of a table, once every test that the rows name is known to exist."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|$", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.M)
    assert [int(number) for number, _ in rows] == list(range(1, count + 1))
    states = []
    for number, row in rows:
        states.append(row.split(" | ")[-1])
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named or unproved in states[-1], f"{page}, row {number} names no test"
        for file, test in named:
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, flags=re.M), f"{page}, row {number}: {file}::{test}"
    return states


def test_every_proof_of_a_guard_exists_and_no_guard_is_left_out() -> None:
    rows_with_proofs("guards.md", 30, unproved="missing")


def test_every_proof_of_a_capability_exists_and_the_counts_are_right() -> None:
    states = rows_with_proofs("capabilities.md", 51, unproved="not served: ")
    n = {
        kind: sum(re.match(rf"{kind}(;|:|$)", s) is not None for s in states)
        for kind in ("there", "in part", "not served")
    }
    assert sum(n.values()) == len(states), "a state begins with there, in part or not served"
    words = f"{n['there']} are there, {n['in part']} in part, {n['not served']} not served"
    for page in ("docs/capabilities.md", "README.md"):
        assert words in " ".join((ROOT / page).read_text(encoding="utf-8").split()), f"{page} does not say: {words}"


def test_the_table_of_designs_in_the_readme_counts_the_capabilities() -> None:
    page = (ROOT / "docs" / "capabilities.md").read_text(encoding="utf-8")
    table = [row.strip("| ").split(" | ") for row in re.findall(r"^\| \d+ \|.*$", page, flags=re.M)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for study in ("li2022", "eob2026", "jia2026", "chen2025", "yu2025"):
        cells, unfinished = [], []
        for letter in (study[0].upper(), study[0]):
            states = {row[0]: row[-1] for row in table if letter in row[2]}
            counts = [sum(state.startswith(kind) for state in states.values()) for kind in ("there", "in part", "not")]
            cells.append(", ".join(map(str, counts)))
            unfinished += [row for row, state in states.items() if not state.startswith("there")]
        line = (
            f"| [{study}](docs/studies/{study}.md) | {' | '.join(cells)} | {', '.join(sorted(unfinished, key=int))} |"
        )
        assert line in readme, f"README.md does not say: {line}"


def test_the_studies_have_simple_baselines() -> None:
    """Beside every model of images one of clinical columns, or of one named feature (size, SUVmax), on its endpoint."""
    for path in [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]:
        models = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        tables = [model for model in models.values() if model["kind"] == "tabular"]
        plain = {m["endpoint"] for m in tables if "roi" not in m or "*" not in "".join(m.get("features", "*"))}
        judged = {model["endpoint"] for model in tables}
        assert judged and judged <= plain, f"{path.name} judges {judged - plain} by no simple baseline"
