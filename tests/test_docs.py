"""Pages that are made from something else agree with it; committed text holds nothing it must not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

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
