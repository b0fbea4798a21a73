"""Environment files: those of the lock, shared by kind of rule. tests/e2e/test_conda_run.py runs inside them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mockstudy import ROOT

FILES = sorted((ROOT / "envs").glob("*.yaml"))


def dependencies(path: Path) -> tuple[list[str], list[str]]:
    """Channel packages and pip pins of an environment file."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    (pins,) = (item["pip"] for item in listed if isinstance(item, dict))
    return [item for item in listed if isinstance(item, str)], pins


def test_pins_are_those_of_the_lock() -> None:
    lock = set((ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines())
    assert len(FILES) == 3
    for path in FILES:
        channel, pins = dependencies(path)
        assert set(pins) <= lock, f"{path.name}: run `make lock`"
        assert channel[:2] == ["python=3.11", "pip"]


def test_cpu_environments_hold_no_gpu_software() -> None:
    for name in ("convert", "models"):
        _, pins = dependencies(ROOT / "envs" / f"{name}.yaml")
        assert not [pin for pin in pins if pin.startswith(("torch", "nvidia", "nnunet", "monai", "triton"))]


def test_pyradiomics_is_built_after_its_environment() -> None:
    channel, _ = dependencies(ROOT / "envs" / "models.yaml")
    assert "c-compiler" in channel
    script = (ROOT / "envs" / "models.post-deploy.sh").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (pin,) = set(re.findall(r"pyradiomics==\S+", script))
    assert pin in makefile


def test_rules_of_one_kind_share_one_environment() -> None:
    used: dict[str, set[str]] = {}
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            (file,) = re.findall(r'conda:\s+"\.\./\.\./envs/(\w+)\.yaml"', rule)
            used.setdefault(file, set()).add(rule.split(":")[0])
    assert set(used) == {path.stem for path in FILES}
    assert {"phantom", "convert", "convert_gather"} <= used["convert"]
    assert {"extract", "train", "validate", "survive", "report"} <= used["models"]
