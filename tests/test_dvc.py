"""The DVC stages: what stands in dvc.yaml follows from the configuration, the rules and the imports of the library."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hccflow.errors import ConfigError, EngineError
from hccflow.orchestration.stages import COMMANDS, EACH, PARAMETERS, RULES, code_files, dvc_place, dvc_text
from hccflow.orchestration.state import DVC_STAGE, check_links, record_of, refuse_unsettled
from hccflow.study import load_study
from mockstudy import ROOT, changed, default_config, write_mock

RULE = re.compile(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", flags=re.M | re.S)


def rules() -> dict[str, str]:
    """Text of every rule by name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk"))]
    return dict(RULE.findall("\n".join(texts)))


def test_dvc_yaml_is_what_the_configuration_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    raw = default_config()
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert text == dvc_text(load_study(raw), raw, Path("config.yaml")), "do: hccflow init --stages"


def test_every_rule_lies_inside_one_fence_and_its_code_is_a_dependency() -> None:
    fenced = [rule for names in RULES.values() for rule in names]
    assert sorted(fenced) == sorted(rules()), "every rule in exactly one stage"
    for rule, text in rules().items():
        command = re.search(r"python -m hccflow (\w+)", text)
        assert command is not None
        assert command[1] == COMMANDS.get(rule, rule)


def test_a_stage_names_every_part_of_the_configuration_that_its_rules_see() -> None:
    texts = rules()
    for stage, names in RULES.items():
        known = {key.split(".")[0] for key in PARAMETERS.get(stage, ())}
        for rule in names:
            seen = set(
                re.findall(r'"(\w+)"', "".join(re.findall(r"settings=settings\((.*?)\)", texts[rule], flags=re.S)))
            )
            assert stage not in PARAMETERS or seen <= known, f"{rule} sees {seen - known}"


def test_code_is_named_by_package_and_the_command_line_by_command() -> None:
    files = code_files(["convert"])
    assert {"workflow/hccflow/convert", "workflow/hccflow/batch.py", "workflow/hccflow/cli/convert.py"} <= set(files)
    assert not [name for name in files if "survive" in name or name.endswith("hccflow/cli")]
    assert all((ROOT / name).exists() for name in files)


def test_dvc_reads_the_stages_of_each_cohort_and_model() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "dvc", "stage", "list", "--name-only"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    stages = set(done.stdout.split())
    config = default_config()
    assert {f"convert@{name}" for name in config["cohorts"]} <= stages
    trained = {stage.split("@")[1] for stage in stages if stage.startswith("train") and "@" in stage}
    assert trained == set(config["models"])
    written = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert len(written["artifacts"]) == len(config["models"])
    assert written["metrics"] and len(written["plots"]) == 3 * len(config["cohorts"])


def test_parameters_stand_in_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DVC stops at a key that is not in the file, so an optional key is named only where it is used."""
    monkeypatch.setenv("HCCFLOW_DATA", str(write_mock(tmp_path)))
    raw = default_config()
    without = stages_of(raw)["enrol"]["do"]["params"][0]["config.yaml"]
    assert "null_seed" not in without
    assert "null_seed" in stages_of(changed(raw, "null_seed", 4))["enrol"]["do"]["params"][0]["config.yaml"]
    assert "cohorts.${key}" in without


def test_cohorts_that_differ_are_listed_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = write_mock(tmp_path)
    (data / "phantom-ext" / "lesions.tsv").unlink()
    monkeypatch.setenv("HCCFLOW_DATA", str(data))
    by_column = {"kind": "binary", "label": "Death", "column": "os_event"}
    stages = stages_of(changed(default_config(), "endpoints.response", by_column))
    assert stages["enrol"]["foreach"] == ["phantom-dev", "phantom-fup"]
    assert "data/${item}/lesions.tsv" in stages["enrol"]["do"]["deps"]
    assert stages["enrol-phantom-ext"]["foreach"] == ["phantom-ext"]
    assert "data/${item}/lesions.tsv" not in stages["enrol-phantom-ext"]["do"]["deps"]
    assert EACH not in yaml.safe_dump(stages)


def stages_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Stages of a configuration."""
    return yaml.safe_load(dvc_text(load_study(raw), raw, Path("config.yaml")))["stages"]


def test_a_choice_among_networks_is_explained_like_a_network() -> None:
    raw = changed(default_config(), "experiment", {"sizes": {"of": "deep", "vary": {"network.width": [4]}}})
    raw["models"]["best"] = {"kind": "choice", "endpoint": "response", "choose": {"among": "sizes"}}
    made = stages_of(raw)["validate"]["do"]["cmd"]
    assert all(f"best.{end}" in made for end in ("cam", "features.tsv", "dice.tsv"))


def test_plots_join_no_scores_of_two_kinds() -> None:
    template = json.loads((ROOT / ".dvc/plots/by_model.json").read_text(encoding="utf-8"))
    told = {part.get("field") for part in template["encoding"].values()}
    assert {"model", "group"} <= told, "a curve is one model and one kind of score"


def test_another_study_has_its_stages_in_a_folder_of_its_name() -> None:
    assert dvc_place(Path("config.yaml")) == Path("dvc.yaml")
    assert dvc_place(Path("studies/mine.yaml")) == Path("studies/mine/dvc.yaml")


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "reflink,symlink", "hardlink , copy"])
@pytest.mark.parametrize("file", ["config", "config.local"])
def test_a_cache_of_links_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    check_links()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / file).write_text(
        f'[core]\n    analytics = false\n[cache]\n    type = "{kind}"\n', encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="certifies a stale result"):
        check_links()
    (tmp_path / ".dvc" / file).write_text("[cache]\n    type = reflink,copy\n", encoding="utf-8")
    check_links()


def test_dvc_never_records_a_result_that_no_job_here_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DVC_STAGE, raising=False)
    made = Path("freeze.json")
    made.write_text("made", encoding="utf-8")
    lock = {"stages": {"train@a": {"outs": [{"path": made.name, "md5": hashlib.md5(b"made").hexdigest()}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    record = record_of(made.name)
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"endtime": made.stat().st_mtime}), encoding="utf-8")
    arguments = ([made.name], Path("dvc.yaml"), "hccflow settle")
    refuse_unsettled(*arguments)
    later = made.stat().st_mtime + 60
    os.utime(made, (later, later))
    with pytest.raises(EngineError, match="come from DVC"):
        refuse_unsettled(*arguments)
    made.write_text("edited", encoding="utf-8")
    os.utime(made, (later, later))
    refuse_unsettled(*arguments)  # for Snakemake alone it is a new result
    monkeypatch.setenv(DVC_STAGE, "train@a")
    with pytest.raises(EngineError, match="changed after its job had made it"):
        refuse_unsettled(*arguments)


def test_this_repository_has_a_safe_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_links()
    assert "reflink,copy" in (ROOT / ".dvc/config").read_text(encoding="utf-8")


def test_no_secret_and_no_remote_of_anybody_is_committed() -> None:
    text = (ROOT / ".dvc/config").read_text(encoding="utf-8")
    assert not re.search(r"remote|secret|password|token|key", text), "remotes and keys belong into .dvc/config.local"
    assert "/config.local" in (ROOT / ".dvc/.gitignore").read_text(encoding="utf-8")
