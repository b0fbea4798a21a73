"""Environment files: those of the lock, shared by kind of rule. tests/e2e/test_conda_run.py runs inside them."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import yaml

from hccflow.provenance import closure, module_file
from hccflow.study import load_study
from mockstudy import ROOT

FILES = sorted((ROOT / "envs").glob("*.yaml"))
#: Name of the function by which a rule chooses its environment by the kind of the model.
BY_MODEL = "environment_of_model"


def canonical(name: str) -> str:
    """Name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


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
    for rule, (_, file) in rules().items():
        used.setdefault(file, set()).add(rule)
    assert set(used) == {path.stem for path in FILES} | {BY_MODEL}
    assert {"phantom", "convert", "convert_gather"} <= used["convert"]
    assert {"extract", "train", "validate", "survive", "report"} <= used["models"]
    assert {"segment_train", "train_fold", "train_network", "explain"} <= used["segment"]
    assert used[BY_MODEL] == {"predict"}


def test_a_model_is_opened_in_the_environment_of_what_it_freezes() -> None:
    """A choice freezes the files of one of its candidates: among networks it cannot be opened without torch."""
    config = yaml.safe_load((ROOT / "studies" / "chen2025.yaml").read_text(encoding="utf-8"))
    config["models"]["texture"] = {"kind": "choice", "endpoint": "response", "choose": {"among": "channels"}}
    study = load_study(config, ROOT)
    known = {"STUDY": study, "expand": lambda *_, **__: []}
    for part in ("variants", "inputs"):  # plain functions of wildcards, without a rule
        known |= runpy.run_path(str(ROOT / "workflow" / "rules" / f"{part}.smk"), init_globals=known)
    used: dict[str, list[str]] = {"segment": [], "models": []}
    for model in study.models:
        path = ROOT / "workflow" / "rules" / known[BY_MODEL](SimpleNamespace(model=model))
        assert path.is_file()
        used[path.stem].append(model)
    networks, tables = {"deep", "deep_clinical"}, {"size", "stage", "clinical", "radiomics"}
    assert {name.split("__")[0] for name in used["segment"]} == networks | {"best", "best_clinical"}
    assert {name.split("__")[0] for name in used["models"]} == tables | {"texture", "mean"}
    assert {"deep__swin", "deep__only_portal", "deep_clinical__densenet"} <= set(used["segment"])
    assert {"radiomics__roi_wider", "radiomics__only_portal"} <= set(used["models"])


def rules() -> dict[str, tuple[str, str]]:
    """Command and environment of every rule."""
    found = {}
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            (command,) = re.findall(r"python -m hccflow (\w+)", rule)
            (file,) = re.findall(r'conda:\s+(?:"\.\./\.\./envs/)?(\w+)', rule)
            found[rule.split(":")[0]] = (command, file)
    return found


def imported(command: str) -> set[str]:
    """Top-level names of all foreign modules that a command may import, anywhere in its code."""
    names: set[str] = set()
    for module in closure(f"hccflow.cli.{command}"):
        path = module_file(module)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path else ():
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"hccflow"}


def test_every_environment_holds_what_the_commands_of_its_rules_import() -> None:
    distributions = metadata.packages_distributions()
    pinned = {path.stem: {canonical(pin.split("==")[0]) for pin in dependencies(path)[1]} for path in FILES}
    pinned["models"].add("pyradiomics")  # built after the environment
    networks = {"torch", "torchvision", "monai", "segmentation_models_pytorch"}
    checked = 0
    for rule, (command, file) in rules().items():
        for environment in ("models", "segment") if file == BY_MODEL else (file,):
            for name in imported(command):
                if file == BY_MODEL and environment == "models" and name in networks:
                    continue  # imported only where the model is a network
                owners = {canonical(owner) for owner in distributions[name]}
                assert owners & pinned[environment], f"rule {rule}: envs/{environment}.yaml lacks {name}"
                checked += 1
    assert checked > 100
