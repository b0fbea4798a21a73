"""The shapes of five published designs, as data: who was scanned how, in which cohorts, and what can be found.

`docs/phantom.md` says which sizes are published and which are guesses; `docs/studies/` lays each design beside its
study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hccflow.phantom.parameters import (
    Biology,
    Clinical,
    Design,
    Group,
    Parameters,
    Response,
    Scanner,
    Survival,
    Tumour,
)

SIZES = ("tested", "published")
SEED = 20261121
#: Faults of a cohort by letter; they come on top of the stated numbers of subjects.
PATIENTS = {"missing_slice": 3, "no_followup": 7, "late_followup": 11, "ineligible": 14}


@dataclass(frozen=True)
class Population:
    """One cohort of a shape.

    Attributes
    ----------
    title, description : str
        As on the card.
    groups : tuple of (prefix, sites)
        Subjects of a prefix that stands in two cohorts are the same people.
    tested, published : tuple of int
        Subjects of each group without faults.
    faults : mapping
        Fault -> number of the subject of the first group that has it.
    parts : mapping
        Parts of `Parameters` that differ from the shape's.
    """

    title: str
    description: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    tested: tuple[int, ...]
    published: tuple[int, ...]
    faults: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """The cohorts of a design by the end of their name, its scanners by site, and the parts of `Parameters`."""

    cohorts: Mapping[str, Population]
    scanners: Mapping[str, Scanner]
    parts: Mapping[str, Any]


def _ct(manufacturer: str, model: str, kvp: float, grid: tuple[list[int], list[float]], noise: float) -> Scanner:
    names = {"arterial": "Liver ART 1.0", "portal": "Liver PV 1.0", "delayed": "Liver DELAY 1.0"}
    return Scanner(
        manufacturer=manufacturer, model=model, kvp=kvp, series=names, matrix=grid[0], spacing_mm=grid[1], gain=1.0,
        noise=noise, bias=0.0,
    )  # fmt: skip


def _mr(
    manufacturer: str, model: str, field_t: float, series: dict[str, str], grid: tuple[list[int], list[float]],
    gain: float, noise: float,
) -> Scanner:  # fmt: skip
    return Scanner(
        manufacturer=manufacturer, model=model, field_t=field_t, tr_ms=3.9, te_ms=1.8, flip_deg=11, series=series,
        matrix=grid[0], spacing_mm=grid[1], gain=gain, noise=noise, bias=0.02,
    )  # fmt: skip


WIDE = ([52, 52, 20], [3.1, 3.1, 5.0])
FINE = ([60, 60, 22], [2.7, 2.7, 4.5])
THICK = ([54, 54, 18], [3.0, 3.0, 5.5])
RAT = ([56, 56, 16], [0.85, 0.85, 1.8])

_CT_TUMOUR = Tumour(
    texture={"arterial": 16.0, "portal": 12.0}, mean={"arterial": 108.0, "portal": 88.0},
    mean_slope={"arterial": 3.0, "portal": -2.0},
)  # fmt: skip

LI2022 = Shape(
    cohorts={
        "dev": Population(
            "Li 2022, hospital 1", "CT before TACE at the hospital whose patients teach.", (("L", ("H1",)),), (48,),
            (170,), PATIENTS,
        ),
        "ext": Population(
            "Li 2022, hospital 2", "CT before TACE at another hospital.", (("M", ("H2",)),), (30,), (78,),
            {"missing_portal": 4, "no_followup": 8},
        ),
    },
    scanners={
        "H1": _ct("SIEMENS", "SOMATOM Definition AS", 120.0, WIDE, 9.0),
        "H2": _ct("GE MEDICAL SYSTEMS", "Revolution CT", 100.0, FINE, 12.0),
    },
    parts={
        "tumour": _CT_TUMOUR,
        "biology": Biology(rna_fraction=0.0, histology_fraction=0.0),
        # The liver's own texture differs between patients and tells nothing: it matters where one looks.
        "design": Design(modality="CT", background=0.5),
    },
)  # fmt: skip

EOB2026 = Shape(
    cohorts={
        "dev": Population(
            "EOB 2026, development", "Hepatobiliary phase before TACE, tumours above 3 cm.", (("B", ("A",)),), (60,),
            (160,), {**PATIENTS, "small_tumour": 18},
        ),
        "ext": Population(
            "EOB 2026, external", "The same at another hospital.", (("C", ("E",)),), (30,), (38,),
            {"ineligible": 4, "small_tumour": 9},
        ),
        "fup": Population(
            "EOB 2026, follow-up", "Development patients, followed longer.", (("B", ("A",)),), (44,), (117,), {},
            {"survival": Survival(censoring_days=[1350.0, 2400.0])},
        ),
    },
    scanners={
        "A": _mr("SIEMENS", "MAGNETOM Skyra", 3.0, {"hbp": "t1_vibe_fs_tra_HBP_20min"}, WIDE, 420.0, 0.03),
        "E": _mr("Philips Medical Systems", "Ingenia", 3.0, {"hbp": "eTHRIVE_HBP_20"}, FINE, 260.0, 0.04),
    },
    parts={
        "tumour": Tumour(
            diameter_mm=46.0, diameter_log_slope=0.12, texture={"hbp": 0.14}, mean={"hbp": 0.95},
            mean_slope={"hbp": -0.05},
        ),
        "biology": Biology(rna_fraction=0.0, histology_fraction=0.0),
        # Heterogeneity shows in the whole liver: knowing where the tumour is helps nobody.
        "design": Design(channels=["hbp"], fills_liver=True),
    },
)  # fmt: skip

_SITES = ("I", "II", "III", "IV", "V")
JIA2026 = Shape(
    cohorts={
        "dev": Population(
            "Jia 2026, institutions I to V", "Three-phase CT before resection.", (("J", _SITES),), (65,), (308,),
            {"missing_slice": 3, "no_survival": 8},
        ),
        "ext": Population(
            "Jia 2026, institution VI", "Three-phase CT before resection at a sixth institution.", (("K", ("VI",)),),
            (32,), (80,), {"missing_portal": 4},
        ),
    },
    scanners={
        "I": _ct("SIEMENS", "SOMATOM Definition Flash", 120.0, WIDE, 9.0),
        "II": _ct("GE MEDICAL SYSTEMS", "Discovery CT750", 120.0, THICK, 10.0),
        "III": _ct("Philips", "Brilliance iCT", 120.0, WIDE, 11.0),
        "IV": _ct("TOSHIBA", "Aquilion ONE", 120.0, FINE, 12.0),
        "V": _ct("GE MEDICAL SYSTEMS", "LightSpeed VCT", 120.0, THICK, 12.0),
        "VI": _ct("SIEMENS", "SOMATOM Force", 100.0, FINE, 13.0),
    },
    parts={
        # R is microvascular invasion: bad news, so every sign is turned.
        "response": Response(
            intercept=-0.9, coefficients={"heterogeneity": 2.4, "size": 1.0, "child_pugh_b": 0.6, "afp": 1.5}
        ),
        "tumour": Tumour(
            texture={"arterial": 16.0, "portal": 12.0, "delayed": 9.0},
            mean={"arterial": 108.0, "portal": 88.0, "delayed": 78.0},
            mean_slope={"arterial": 3.0, "portal": -2.0, "delayed": -2.0},
        ),
        "clinical": Clinical(child_pugh_b=0.15, bclc_b=0.3),
        "biology": Biology(rna_fraction=0.0, histology_fraction=0.0),
        "design": Design(
            modality="CT", channels=["arterial", "portal", "delayed"], background=0.3, label="mvi", progression="rfs",
            missing={"mvi": 0.1, "os": 0.15, "rfs": 0.1},
        ),
    },
)  # fmt: skip


def _dynamic(arterial: str, portal: str) -> dict[str, str]:
    return {"arterial": arterial, "portal": portal}


_UNTREATED = {
    "biology": Biology(rna_fraction=1.0, histology_fraction=0.0),
    "design": Design(followup=False),
}
CHEN2025 = Shape(
    cohorts={
        "dev": Population(
            "Chen 2025, centre 1", "Dynamic MRI before the first TACE.", (("N", ("C1",)),), (54,), (134,), PATIENTS
        ),
        "exta": Population(
            "Chen 2025, centre 2", "The first external test cohort.", (("P", ("C2",)),), (26,), (31,),
            {"no_followup": 5},
        ),
        "extb": Population(
            "Chen 2025, centre 3", "The second external test cohort.", (("Q", ("C3",)),), (26,), (30,),
            {"missing_portal": 6},
        ),
        "rna": Population(
            "Chen 2025, radiogenomic", "Patients of an archive with MRI and RNA, not treated by TACE.",
            (("T", ("G",)),), (30,), (40,), {}, _UNTREATED,
        ),
    },
    scanners={
        "C1": _mr("SIEMENS", "MAGNETOM Aera", 1.5, _dynamic("t1_vibe_art", "t1_vibe_pv"), WIDE, 400.0, 0.03),
        "C2": _mr("GE MEDICAL SYSTEMS", "Discovery MR750w", 3.0, _dynamic("LAVA ART", "LAVA PV"), THICK, 900.0, 0.03),
        "C3": _mr("UIH", "uMR 780", 3.0, _dynamic("quick3d_ART", "quick3d_PV"), FINE, 520.0, 0.04),
        "G": _mr("Philips Medical Systems", "Achieva", 1.5, _dynamic("THRIVE ART", "THRIVE PV"), WIDE, 260.0, 0.04),
    },
    parts={"biology": Biology(rna_fraction=0.0, histology_fraction=0.0)},
)  # fmt: skip

YU2025 = Shape(
    cohorts={
        "rats": Population(
            "Yu 2025, rats", "Orthotopic tumours in four arms, MRI every week for three weeks.", (("R", ("LAB",)),),
            (32,), (48,), {},
        ),
    },
    scanners={
        "LAB": _mr(
            "Bruker BioSpin MRI GmbH", "BioSpec 70/30", 7.0,
            {"t1": "T1_FLASH", "t2": "T2_TurboRARE", "contrast": "T1_FLASH_Gd"}, RAT, 600.0, 0.03,
        ),
    },
    parts={
        "response": Response(
            intercept=-2.2, coefficients={"heterogeneity": -1.6, "size": -0.7, "treatment": 1.7}, diameter_noise=0.05
        ),
        "tumour": Tumour(
            diameter_mm=8.0, diameter_log_slope=0.15, texture={"t1": 0.09, "t2": 0.16, "contrast": 0.20},
            mean={"t1": 0.80, "t2": 1.15, "contrast": 1.75}, mean_slope={"t1": 0.0, "t2": 0.05, "contrast": 0.06},
        ),
        "biology": Biology(rna_fraction=0.0, histology_fraction=1.0),
        "design": Design(
            channels=["contrast", "t1", "t2"], body=0.30, background=0.2, label="outcome", survival=False,
            weeks=[0, 1, 2, 3], growth=[0.05, -0.02],
            arms={"control": 0.0, "sorafenib": 1.0, "nk": 1.0, "combination": 2.0},
        ),
    },
)  # fmt: skip

SHAPES = {"yu2025": YU2025, "li2022": LI2022, "eob2026": EOB2026, "jia2026": JIA2026, "chen2025": CHEN2025}


def shape_cards(name: str, size: str = "tested", *, seed: int = SEED, null: bool = False) -> dict[str, dict[str, Any]]:
    """Cards of the cohorts of a shape.

    Parameters
    ----------
    name : str
        A key of `SHAPES`.
    size : str
        ``tested`` (config to report in minutes on two cores) or ``published``.
    seed : int
        Seed of everything in the phantom.
    null : bool
        Nothing is to be found: no coefficient, no difference in growth, no biology that an image shows.
    """
    shape = SHAPES[name]
    # A subject that stands in two cohorts keeps its fault in both.
    faulty = {prefix: one.faults for one in shape.cohorts.values() for prefix, _ in one.groups[:1] if one.faults}
    return {
        f"{name}-{end}": {
            "title": one.title + (" (no signal)" if null else ""),
            "description": one.description + " Made by `hccflow phantom`; see docs/phantom.md.",
            "licence": "Apache-2.0",
            "batches": 2 if size == "tested" else 8,
            "source": {
                "kind": "phantom",
                "parameters": _parameters(shape, one, getattr(one, size), faulty, seed, null).to_card(),
            },
        }
        for end, one in shape.cohorts.items()
    }


def _parameters(
    shape: Shape,
    one: Population,
    numbers: tuple[int, ...],
    faulty: Mapping[str, Mapping[str, int]],
    seed: int,
    null: bool,
) -> Parameters:
    groups = [
        Group(prefix, n + len(one.faults), list(sites)) for (prefix, sites), n in zip(one.groups, numbers, strict=True)
    ]
    scanners = {site: shape.scanners[site] for site in sorted({site for group in groups for site in group.sites})}
    p = Parameters(seed, groups, scanners, **{**shape.parts, **one.parts})
    present = p.subjects()
    faults = {
        kind: [subject]
        for group in groups
        for kind, number in faulty.get(group.prefix, {}).items()
        if (subject := f"{group.prefix}{number:03d}") in present
    }
    return without_signal(replace(p, faults=faults)) if null else replace(p, faults=faults)


def without_signal(p: Parameters) -> Parameters:
    """The same study where nothing is to be found: label, survival and biology know nothing of what is seen."""
    rate = sum(p.design.growth) / 2
    return replace(
        p,
        response=replace(p.response, intercept=0.0, coefficients=dict.fromkeys(p.response.coefficients, 0.0)),
        survival=replace(p.survival, coefficients=dict.fromkeys(p.survival.coefficients, 0.0)),
        biology=replace(p.biology, signal=False),
        design=replace(p.design, growth=[rate, rate]),
    )
