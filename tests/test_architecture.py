"""The house keeps its shape: layers, names, sizes, pins."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from hccflow.cli import commands
from hccflow.provenance import closure, imports_of, module_file

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "workflow" / "hccflow"
UNSAFE = re.compile(
    r"\bpickle\.load|read_pickle|cloudpickle|allow_pickle\s*=\s*True|joblib\.load|weights_only\s*=\s*False|yaml\.load\("
    r"|torch\.load\((?!.*weights_only=True)|(?<![.\w])(?:eval|exec)\("
)
STAGES = ["convert", "enrol", "segment", "extract", "train", "validate", "survive", "relate", "report"]
MODULES = sorted(
    "hccflow." + ".".join(p.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")
    for p in LIBRARY.rglob("*.py")
    if p != LIBRARY / "__init__.py"
)


def stage_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[1] in STAGES else ""


def top_level_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_layers(module: str) -> None:
    path = module_file(module)
    assert path is not None
    outside = top_level_imports(path)
    assert not outside & {"snakemake", "dvc"}, "the library knows neither workflow engine"
    if not module.startswith("hccflow.cli"):
        assert "argparse" not in outside
        assert not [m for m in imports_of(module) if m.startswith("hccflow.cli")] or module == "hccflow.__main__"
    others = {stage_of(m) for m in imports_of(module)} - {"", stage_of(module)}
    if stage_of(module):
        assert not others, "a stage never imports another stage"
    elif not module.startswith("hccflow.cli"):
        assert not others, "a shared module never imports a stage"


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_small_and_know_no_results_folder(module: str) -> None:
    path = module_file(module)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert "results/" not in text, "paths under results/ are given by the rules"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_same_things_under_one_word(stage: str) -> None:
    assert (ROOT / "workflow" / "rules" / f"{stage}.smk").is_file()
    assert module_file(f"hccflow.{stage}") is not None
    assert stage in commands()
    assert (ROOT / "tests" / f"test_{stage}.py").is_file()


def test_rules_hold_no_logic() -> None:
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        if path.name not in (
            "biology.smk",
            "common.smk",
            "inputs.smk",
            "resources.smk",
            "variants.smk",
        ):  # set-up, not rules
            assert not re.search(r"\blambda\b|^\s*(import|from|def)\s", text, flags=re.M), path.name
            assert not re.search(r"^\s*(run|script|notebook):", text, flags=re.M), path.name
            for command in re.findall(r"python -m hccflow (\w+)", text):
                assert command in commands(), f"{path.name} calls hccflow {command}"
                assert f'code=code("{command}")' in text, f"{path.name}: {command} must depend on its own code"
        else:
            assert len(text.splitlines()) <= 180


@pytest.mark.parametrize("module", MODULES)
def test_imports_found_by_pattern_are_those_of_the_syntax_tree(module: str) -> None:
    wanted: set[str] = set()
    for node in ast.walk(ast.parse(module_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in wanted if name.split(".")[0] == "hccflow"]
    names = {".".join(p[: i + 1]) for p in parts for i in range(1, len(p))}
    assert imports_of(module) == {name for name in names if name != module and module_file(name)}


def test_the_code_digest_covers_what_a_command_runs() -> None:
    covered = closure("hccflow.cli.convert")
    assert "hccflow.convert" in covered
    assert "hccflow.batch" in covered
    assert "hccflow.survive" not in covered


def test_the_lock_and_the_environments_carry_the_same_pins() -> None:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "envs" / "lock.py")
    assert spec is not None and spec.loader is not None
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    pins = set((ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines())
    assert {"torch==2.13.0", "torchvision==0.28.0"} <= pins
    assert not [pin for pin in pins if pin.startswith(("nvidia", "triton"))], "torch brings these itself"
    for name in lock.ENVIRONMENTS:
        content = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text(encoding="utf-8"))
        inline = next(entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
        assert set(inline) <= pins, f"envs/{name}.yaml has pins that the lock does not have"
        listed = {lock.canonical(pin.split("==")[0]) for pin in inline}
        wanted = {lock.canonical(n) for n in [*lock.groups()["core"], *lock.groups()[name]]}
        assert wanted <= listed


def test_nothing_of_ours_opens_a_file_that_runs_code() -> None:
    for path in LIBRARY.rglob("*.py"):
        assert not UNSAFE.search(path.read_text(encoding="utf-8")), path
