"""The three cohorts of the phantom study, at three sizes: their cards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hccflow.errors import ConfigError
from hccflow.phantom.parameters import Group, Parameters, Scanner, Survival

NAMES = ("phantom-dev", "phantom-ext", "phantom-fup")

SCANNERS = {
    "A": Scanner(
        manufacturer="SIEMENS", model="MAGNETOM Aera", field_t=1.5, tr_ms=4.1, te_ms=1.9, flip_deg=10,
        arterial="t1_vibe_fs_tra_art", portal="t1_vibe_fs_tra_pv", matrix=[64, 64, 24], spacing_mm=[2.5, 2.5, 4.0],
    ),
    "B": Scanner(
        manufacturer="GE MEDICAL SYSTEMS", model="Optima MR450w", field_t=1.5, tr_ms=3.9, te_ms=1.8, flip_deg=12,
        arterial="Ax LAVA ART", portal="Ax LAVA PV", matrix=[62, 62, 25], spacing_mm=[2.6, 2.6, 3.8],
        tilt_deg=[6.0, -3.0], descending=True, gain=900.0, noise=0.030,
    ),
    "C": Scanner(
        manufacturer="Philips Medical Systems", model="Ingenia", field_t=3.0, tr_ms=3.2, te_ms=1.5, flip_deg=10,
        arterial="eTHRIVE_dyn_ART", portal="eTHRIVE_dyn_PORT_VEN", matrix=[80, 80, 20], spacing_mm=[2.0, 2.0, 5.0],
        gain=260.0, noise=0.040, bias=0.03, slope=0.5,
    ),
}  # fmt: skip
#: Coarser grids over the same field of view, for tests.
MICRO_GRIDS = {
    "A": ([40, 40, 16], [4.0, 4.0, 6.0]),
    "B": ([38, 38, 17], [4.2, 4.2, 5.6]),
    "C": ([47, 47, 15], [3.4, 3.4, 6.6]),
}
#: Honest faults; each stays with its subject in every cohort. What each one does: `hccflow.phantom.faults`.
FAULTS = {
    "missing_slice": ["D018"],
    "truncated_file": ["E004", "F003"],
    "missing_portal": ["D021", "E007"],
    "ineligible": ["D020"],
    "no_followup": ["D019", "E009"],
    "late_followup": ["D022"],
    "no_survival": ["D023", "E011"],
}
TITLES = {
    "phantom-dev": ("Phantom development", "Two sites (A, B), dynamic liver MRI in arterial and portal phase."),
    "phantom-ext": ("Phantom external", "One other site (C): another scanner, grid, intensity scale and noise."),
    "phantom-fup": (
        "Phantom follow-up",
        "Subjects shared with phantom-dev and new ones from site A, followed longer.",
    ),
}


@dataclass(frozen=True)
class Size:
    """How many subjects and batches; `shared` of the follow-up cohort's subjects are the first ones of development."""

    dev: int
    ext: int
    fup: int
    shared: int
    batches: tuple[int, int, int]
    coarse: bool = False
    faults: bool = True


PRESETS = {
    "micro": Size(24, 14, 10, 6, (2, 1, 1), coarse=True),
    "default": Size(60, 30, 24, 16, (3, 2, 2)),
    "enlarged": Size(400, 400, 100, 60, (8, 8, 8), faults=False),
}
SEED = 20261120


def make_cards(size: Size, seed: int = SEED) -> dict[str, dict[str, Any]]:
    """Cards of the three cohorts.

    Parameters
    ----------
    size : Size
        A value of `PRESETS`, or one of its relatives.
    seed : int
        Seed of everything in the phantom.

    Raises
    ------
    ConfigError
        The sizes contradict each other.
    """
    if not 0 <= size.shared <= min(size.dev, size.fup) or min(size.dev, size.ext, size.fup) < 1:
        raise ConfigError(
            "the sizes of the cohorts contradict each other",
            expected="n-dev, n-ext, n-fup at least 1; n-shared at most n-dev and n-fup",
            found=f"n-dev {size.dev}, n-ext {size.ext}, n-fup {size.fup}, n-shared {size.shared}",
        )
    groups = {
        "phantom-dev": [Group("D", size.dev, ["A", "B"])],
        "phantom-ext": [Group("E", size.ext, ["C"])],
        "phantom-fup": [Group("D", size.shared, ["A", "B"]), Group("F", size.fup - size.shared, ["A"])],
    }
    return {
        name: {
            "title": TITLES[name][0],
            "description": TITLES[name][1] + " Made by `hccflow phantom`; see docs/phantom.md.",
            "licence": "Apache-2.0",
            "batches": batches,
            "source": {"kind": "phantom", "parameters": _parameters(name, groups[name], size, seed).to_card()},
        }
        for name, batches in zip(NAMES, size.batches, strict=True)
    }


def _parameters(name: str, groups: list[Group], size: Size, seed: int) -> Parameters:
    groups = [group for group in groups if group.n]
    sites = sorted({site for group in groups for site in group.sites})
    parameters = Parameters(seed, groups, {site: _scanner(site, size.coarse) for site in sites})
    if name == "phantom-fup":
        first, last = parameters.survival.censoring_days
        parameters = replace(parameters, survival=Survival(censoring_days=[first + 900, last + 900]))
    if size.faults:
        present = parameters.subjects()
        faults = {kind: [s for s in subjects if s in present] for kind, subjects in FAULTS.items()}
        parameters = replace(parameters, faults={kind: subjects for kind, subjects in faults.items() if subjects})
    return parameters


def _scanner(site: str, coarse: bool) -> Scanner:
    if not coarse:
        return SCANNERS[site]
    matrix, spacing = MICRO_GRIDS[site]
    return replace(SCANNERS[site], matrix=matrix, spacing_mm=spacing)
