"""Fixtures that every test may use."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack ``<name>.tar.xz`` of the folder HCCFLOW_REALDATA once; skip with a reason where it is absent."""
    unpacked: dict[str, Path] = {}

    def get(name: str) -> Path:
        source = os.environ.get("HCCFLOW_REALDATA", "")
        if not source:
            pytest.skip("HCCFLOW_REALDATA is not set: the folder of the real data archives")
        archive = Path(source) / f"{name}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"real data archive {archive.name} is not in HCCFLOW_REALDATA")
        if name not in unpacked:
            folder = tmp_path_factory.mktemp(name)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            unpacked[name] = folder
        return unpacked[name]

    return get
