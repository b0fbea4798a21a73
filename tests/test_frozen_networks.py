"""Frozen networks where they are used: on machines with and without a GPU, and on cohorts of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hccflow.ids import CohortRole
from hccflow.models.encoding import Encoding
from hccflow.networks.crops import Scaling
from hccflow.networks.croptable import crop_table
from hccflow.networks.heads import tasks_of
from hccflow.networks.model import NetworkModel, load_network
from hccflow.networks.overlap import frozen_dice
from hccflow.networks.overlays import deep_features, explain_cohort
from hccflow.networks.registry import build
from hccflow.predict import Frozen, predict
from test_networks import ENDPOINTS, SHAPE, SPEC, study

HEADS = {"response": {"survival": False, "threshold": {"value": 0.5}}}
NOBODY = pd.DataFrame(columns=["cohort", "subject", "session", "endpoint", "repeat", "fold", "y_prob", "risk"])


def frozen(root: Path, **options: Any) -> Frozen:
    """A frozen network with random weights, that has seen nobody."""
    spec = {**SPEC, **options}
    torch.manual_seed(3)
    networks = tuple(build(SHAPE, spec).eval() for _ in range(spec["seeds"]))
    heads = tasks_of({"endpoint": "response", "network": spec}, ENDPOINTS).heads
    scaling = Scaling((0.0, 0.0), (1.0, 1.0))
    model = NetworkModel(spec, heads, SHAPE, Encoding((), ()), None, scaling, networks, ({},) * len(networks))
    model.save(root / "deep" / "model")
    facts = {"kind": "network", "study": "toy", "model": "deep", "endpoint": "response", "heads": HEADS}
    return Frozen(root / "deep", facts, NOBODY)


@pytest.mark.parametrize(("device", "there"), [("auto", True), ("cuda", True), ("cuda", False)])
def test_frozen_networks_score_on_the_cpu_whatever_the_machine_has(
    device: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = study(tmp_path, 8, "ext", seed=9, role="external")
    crops = crop_table([tmp_path / "ext" / "crop-box"])
    here = predict(frozen(tmp_path / "cpu"), "ext", CohortRole.EXTERNAL, cases, crops)
    model = frozen(tmp_path, device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    scores = predict(model, "ext", CohortRole.EXTERNAL, cases, crops)
    pd.testing.assert_frame_equal(scores, here, check_exact=True)
    table = explain_cohort(tmp_path / "deep", {}, cases, crops, scores, tmp_path / "cam", each=1, seed=0)
    assert len(table) == 6 and len(list((tmp_path / "cam").glob("*.png"))) == 3
    opened = load_network(tmp_path / "deep" / "model")
    assert np.isfinite(deep_features(opened, cases, crops, scores).filter(like="seed")).all(axis=None)
    assert frozen_dice(opened, cases, crops, scores)["dice"].notna().all()
