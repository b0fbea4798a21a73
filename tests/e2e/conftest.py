"""The micro study, run once from a copy of the tracked tree, as a newcomer's clone would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mockstudy import default_config
from workspace import Workspace


class Checkout(Workspace):
    """A copy of the repository with the micro phantom in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = default_config()
        config["split"]["folds"] = 2
        config["validate"]["bootstrap"] = 200
        # Real networks at a tenth of the training that they need (docs/segment.md): their masks are not promised to
        # hold a tumour, so no model is built upon them here, and the default study's demand has no place. With the 200
        # iterations of the default study every fold reaches a tumour Dice of 0.87 (18 CPU seconds a fold): then the
        # model may come back.
        config["segment"] |= {"iterations": 30, "require_dice": {}}
        del config["models"]["radiomics_nnunet"]
        config["models"]["deep"]["network"] |= {"epochs": 4, "patience": 4}
        # What shows nothing that its like does not show: a second logistic model, features of the filtered image, a
        # second endpoint of survival, two more subgroups.
        del config["models"]["size"], config["extract"]["radiomics"]["imageType"]["LoG"]
        config["survive"] |= {"endpoints": ["os"], "models": ["clinical", "fused"]}
        config["validate"]["subgroups"] = ["sex"]
        config["relate"]["genes"]["permutations"] = 400
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        self.run(sys.executable, "-m", "hccflow", "phantom", "--preset", "micro", "--out", "data")

    @property
    def results(self) -> Path:
        """Results of the study."""
        return self.folder / "results" / "phantom"

    def snakemake_killed_after(self, seconds: float) -> bool:
        """Start snakemake and kill it with all its jobs after a while, as a power cut would; whether it still ran."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2"]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        running = process.poll() is None
        if running:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return running


@pytest.fixture(scope="session")
def new_checkout(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Make a further checkout."""
    return lambda name: Checkout(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The micro study, finished."""
    checkout = Checkout(tmp_path_factory.mktemp("micro"))
    checkout.snakemake()
    return checkout
