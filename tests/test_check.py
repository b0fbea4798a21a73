"""hccflow check, status, why and init: what a person is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hccflow.cli import main
from hccflow.orchestration.state import record_of
from hccflow.study import load_study
from hccflow.tables import write_text
from mockstudy import ROOT, changed, default_config, write_mock
from smallstudy import COHORTS, SmallStudy, configuration, write_image


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallStudy:
    """The small study's tables and images, without anything computed."""
    study = SmallStudy(tmp_path)
    study.configure(configuration())
    for name, (letter, _, batches, _) in COHORTS.items():
        study.write_cohort(name, letter, 6, batches)
    monkeypatch.chdir(tmp_path)
    return study


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and output of a command."""
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def index(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Index the images of a cohort."""
    folder = Path("data", name)
    code, _ = run(
        capsys, "index", "--images", str(folder / "nifti"), "--participants", str(folder / "participants.tsv")
    )
    assert code == 0


def test_a_new_study_is_correct_and_says_what_to_fill_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run(capsys, "init", "my-study")
    assert code == 2
    assert "no copy of the repository" in output
    (tmp_path / "Snakefile").touch()
    code, output = run(capsys, "init", "my-study")
    assert code == 0
    assert "hccflow index --images data/my-study-dev/dicom" in output
    stages = yaml.safe_load((tmp_path / "studies/my-study/dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert stages["convert"]["do"]["wdir"] == "../.."
    code, output = run(capsys, "check", "--configfile", "studies/my-study.yaml")
    assert code == 1, "there are no images yet"
    missing = output.split("missing (to fill in)\n")[1].split("\n\n")[0].splitlines()
    assert len(missing) == 4
    assert all("example rows" in line or "no images at" in line for line in missing)
    assert "does not fit" not in output, "its DVC stages fit"
    code, output = run(capsys, "init", "my-study")
    assert code == 2
    assert "the study is there already" in output


def test_the_default_study_lacks_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    code, output = run(capsys, "check")
    assert code == 0, output
    assert "missing (to fill in): nothing" in output
    assert "does not fit" not in output
    assert "30 of 57" in output, "responses of the development cohort"


def test_images_that_are_absent_or_changed_are_told(small: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run(capsys, "check")
    assert code == 1
    assert output.count("hccflow index --images") == 2, "both cohorts are not indexed"
    for name in COHORTS:
        index(capsys, name)
    code, output = run(capsys, "init", "--stages")
    code, output = run(capsys, "check")
    assert code == 0, output
    assert "12 series" in output
    shutil.rmtree("data/one/nifti/sub-D002")
    write_image(Path("data/two/nifti/sub-E001"), "E001", 99.0)
    os.utime("data/two/nifti/sub-E001/sub-E001_arterial.nii.gz", (2e9, 2e9))
    code, output = run(capsys, "check")
    assert code == 1
    assert "one: 2 of the indexed series are not there" in output
    assert "two: 2 series have files newer than" in output
    code, output = run(capsys, "check", "--deep")
    assert "two: E001 arterial: the files are not those that were indexed" in output


def test_what_contradicts_itself_is_one_line(small: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    small.configure(changed(configuration(), "primary.cohort", "nobody"))
    code, output = run(capsys, "check")
    assert code == 2
    assert len(output.strip().splitlines()) == 1
    assert "nobody" in output


def test_hostile_identifiers_are_refused_before_anything_runs(
    small: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path("data/one/participants.tsv")
    whole = table.read_text(encoding="utf-8")
    for bad in ("$(touch hacked)", "x;touch hacked", "../../etc", "a b", "`id`", "x\\n", "-rf", "é"):
        table.write_text(whole.replace("D001", bad, 1), encoding="utf-8")
        code, output = run(capsys, "check")
        assert code == 2
        assert "subject" in output
    table.write_text(whole, encoding="utf-8")
    card = changed(configuration(), "study", "x;touch hacked")
    small.configure(card)
    assert run(capsys, "check")[0] == 2
    assert not Path("hacked").exists()


def test_status_tells_done_running_and_failed_from_files(small: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not running" in run(capsys, "status")[1]
    results, logs = Path("results/small"), Path("logs/small")
    row = "one\t{}\t\t{}\t{}\t\n"
    head = "cohort\tsubject\tsession\tstatus\treason\tdigest\n"
    for batch in load_study(configuration()).cohorts["one"].batches:
        rows = row.format("D001", "ok", "") + row.format("D002", "failed", "arterial: slices are missing; found: 3")
        write_text(results / f"convert/one/batch-{batch}.tsv", head + rows)
    mark = record_of("results/small/convert/two/batch-01.tsv", "incomplete")
    write_text(mark, "")
    write_text(logs / "train/clinical.log", "Traceback")
    code, output = run(capsys, "status")
    assert code == 0
    assert "done, 2 ok, 2 failed" in output
    assert "running" in output
    assert "failed: arterial: slices are missing" in output
    assert "read logs/small/train/clinical.log" in output
    write_text(Path(".snakemake/locks/0.input.lock"), "")
    assert "snakemake --unlock" in run(capsys, "status")[1], "a lock and no process: it was killed"


def test_status_names_the_process_that_holds_the_folder(small: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(Path(".snakemake/locks/0.input.lock"), "")
    sleeper = Path("snakemake")
    sleeper.write_text("import time; time.sleep(60)", encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(sleeper)])
    try:
        assert f"process {process.pid}" in run(capsys, "status")[1]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_why_tells_inputs_code_seed_and_time(small: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    made, used = "results/small/enrol/split.tsv", "results/small/enrol/one/subjects.tsv"
    write_text(Path(made), "a")
    write_text(Path(used), "b")
    record = {
        "rule": "split", "input": [used], "log": ["logs/small/enrol/split.log"],
        "shellcmd": "python -m hccflow split --subjects x", "params": [repr(json.dumps({"seed": 7, "split": {}}))],
        "starttime": 1.0, "endtime": 61.5, "conda_env": None, "input_checksums": {used: "sha256:" + "0" * 64},
    }  # fmt: skip
    write_text(record_of(made), json.dumps(record))
    code, output = run(capsys, "why", made)
    assert code == 0
    for words in ("split", "changed since", "1970-01-01 00:01:01 UTC", "60.5 s", "sections seed, split"):
        assert words in output
    assert any(line.split() == ["seed", "7"] for line in output.splitlines())
    code, output = run(capsys, "why", used)
    assert code == 2
    assert "has no record of it" in output


def test_a_second_run_is_told_to_wait(tmp_path: Path) -> None:
    """Snakemake's own lock: two runs in one folder never write the same file."""
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    output: 'x'\n    shell: 'sleep 30; touch x'\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        locks = tmp_path / ".snakemake/locks"
        for _ in range(300):
            if locks.is_dir() and any(locks.iterdir()):
                break
            subprocess.run(["sleep", "0.1"], check=True)
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert second.returncode != 0
        assert "Directory cannot be locked" in second.stderr
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


def test_settings_reach_the_shell_quoted() -> None:
    """Every path and every text in a shell line is quoted, or is an identifier that the schema has checked."""
    safe = {"wildcards", "threads", "params.role", "params.shared"}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for shell in re.findall(r"^    shell:\n((?: {8}.*\n)+)", path.read_text(encoding="utf-8"), flags=re.M):
            for name in re.findall(r"\{([\w.]+)\}", shell):
                assert name in safe or name.split(".")[0] == "wildcards", f"{path.name}: {{{name}}} is not quoted"


def test_a_mock_study_of_many_cases_is_checked_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_mock(tmp_path / "data", n_batches=1, dev=300)
    config = changed(default_config(), "endpoints.response", {"kind": "binary", "column": "os_event"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    code, output = run(capsys, "check")
    assert "phantom-dev: batches of 300 to 300 cases" in output
    assert code in (0, 1)
