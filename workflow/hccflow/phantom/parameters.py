"""Every number of the generator, as it stands on a cohort's card under ``source.parameters``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from hccflow.errors import ConfigError
from hccflow.ids import check_id
from hccflow.phantom.contrast import CHANNELS

#: What each kind of information may know; keys of the coefficients of response and survival.
INFORMATION = {
    "size": ("size",),
    "clinical": ("child_pugh_b", "afp"),
    "imaging": ("heterogeneity", "size"),
    "all": ("child_pugh_b", "afp", "heterogeneity", "size"),
}
#: The same for animals, of whom nothing but the arm is known beside the image.
INFORMATION_ARMS = {
    "size": ("size",),
    "clinical": ("treatment",),
    "imaging": ("heterogeneity", "size"),
    "all": ("treatment", "heterogeneity", "size"),
}
#: Columns of participants.tsv that show a variable of the generator.
COLUMNS = {"child_pugh": "child_pugh_b", "afp_ng_ml": "afp", "diameter_mm": "size"}
COLUMNS_ARMS = {"arm": "treatment", "diameter_mm": "size"}
#: A card leaves such a field out where it has its default.
OPTIONAL = {"optional": True}


@dataclass(frozen=True)
class Group:
    """Subjects ``<prefix>001`` to ``<prefix><n>``; sites follow one another in turn."""

    prefix: str
    n: int
    sites: list[str]

    def subjects(self) -> dict[str, str]:
        """Site of each subject."""
        return {f"{self.prefix}{i + 1:03d}": self.sites[i % len(self.sites)] for i in range(self.n)}


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """One site's scanner: its header, its grid and what it does to intensities."""

    manufacturer: str
    model: str
    field_t: float = field(default=0.0, metadata=OPTIONAL)
    tr_ms: float = field(default=0.0, metadata=OPTIONAL)
    te_ms: float = field(default=0.0, metadata=OPTIONAL)
    flip_deg: float = field(default=0.0, metadata=OPTIONAL)
    arterial: str = field(default="", metadata=OPTIONAL)  # series description of a phase, as the hospital writes it
    portal: str = field(default="", metadata=OPTIONAL)
    series: dict[str, str] = field(default_factory=dict, metadata=OPTIONAL)  # the same for every other channel
    matrix: list[int]  # columns, rows, slices
    spacing_mm: list[float]  # between columns, rows, slices
    tilt_deg: list[float] = field(default_factory=lambda: [0.0, 0.0])  # about the left-right and the head-foot axis
    descending: bool = False  # instance 1 is the uppermost slice
    gain: float = 400.0  # intensity of unenhanced liver
    noise: float = 0.025  # SD of each complex component, relative to unenhanced liver
    bias: float = 0.01  # SD of the log bias field over the field of view
    slope: float = 1.0  # rescale slope; the intercept is 0
    kvp: float = field(default=0.0, metadata=OPTIONAL)  # of a CT; its gain is 1 and its noise is in HU

    def description(self, channel: str) -> str:
        """Series description of a channel."""
        return self.series.get(channel) or getattr(self, channel)


@dataclass(frozen=True)
class Clinical:
    """Distributions of the clinical variables."""

    child_pugh_b: float = 0.4
    afp_log_mean: float = 4.5  # of log(1 + AFP in ng/ml)
    afp_log_sd: float = 1.4
    age_mean: float = 63.0
    age_sd: float = 9.0
    male: float = 0.75
    bclc_b: float = 0.6
    tumour_number: list[float] = field(default_factory=lambda: [0.6, 0.25, 0.15])  # P(1), P(2), P(3)


@dataclass(frozen=True)
class Response:
    """Logistic model of objective response, and what readers measure."""

    intercept: float = 0.9
    coefficients: dict[str, float] = field(
        default_factory=lambda: {"heterogeneity": -2.6, "size": -0.9, "child_pugh_b": -2.2, "afp": -1.5}
    )
    complete: float = 0.3  # P(complete response | response)
    progressive: float = 0.25  # P(progressive disease | no response)
    partial_ratio: list[float] = field(default_factory=lambda: [0.15, 0.66])  # viable diameter after / before
    stable_ratio: list[float] = field(default_factory=lambda: [0.74, 1.15])
    progressive_ratio: list[float] = field(default_factory=lambda: [1.28, 1.7])
    new_lesion: float = 0.4  # P(new lesion | progressive disease)
    readers: list[str] = field(default_factory=lambda: ["R1", "R2", "R3"])
    diameter_noise: float = 0.04  # SD of the log of one measured diameter
    viable_noise: float = 0.12  # SD of the log of one measured viable diameter
    days: list[int] = field(default_factory=lambda: [28, 70])  # follow-up imaging


@dataclass(frozen=True)
class Survival:
    """Proportional hazards of progression and death, with independent censoring."""

    coefficients: dict[str, float] = field(
        default_factory=lambda: {"heterogeneity": 0.6, "size": 0.35, "child_pugh_b": 0.7, "afp": 0.5}
    )
    delay_days: float = 90.0  # nobody progresses or dies before the end of the response window
    shape: float = 1.2
    death_scale_days: float = 1000.0
    progression_scale_days: float = 560.0
    censoring_days: list[float] = field(default_factory=lambda: [450.0, 1500.0])  # uniform


@dataclass(frozen=True)
class Tumour:
    """How latent heterogeneity and size become a tumour in the image. Intensities are relative to unenhanced liver."""

    diameter_mm: float = 28.0
    diameter_log_slope: float = 0.21  # per unit of size
    border: float = 0.10  # irregularity of the border, relative to the radius
    texture: dict[str, float] = field(default_factory=lambda: {"arterial": 0.20, "portal": 0.13})
    texture_log_slope: float = 0.45  # per unit of heterogeneity
    blotch_mm: float = 3.5  # SD of the Gaussian that makes the blotches
    blotch_log_slope: float = 0.15  # per unit of heterogeneity
    mean: dict[str, float] = field(default_factory=lambda: {"arterial": 1.75, "portal": 0.95})
    mean_slope: dict[str, float] = field(default_factory=lambda: {"arterial": 0.06, "portal": -0.04})


@dataclass(frozen=True)
class Biology:
    """RNA and histology."""

    genes: int = 300
    module: int = 25  # genes in each of the three co-expressed sets
    sets: int = 20
    rna_fraction: float = 0.6
    loading: float = 0.8  # of a module's genes on its factor, in SD of log expression
    histology_fraction: float = 0.4
    # False: the module and the histology follow a number that no image shows.
    signal: bool = field(default=True, metadata=OPTIONAL)


@dataclass(frozen=True)
class Design:
    """What is measured in whom. The default is a patient's dynamic MRI before treatment, and a response after it."""

    modality: str = field(default="MR", metadata=OPTIONAL)  # or CT
    # The first one carries the masks.
    channels: list[str] = field(default_factory=lambda: ["arterial", "portal"], metadata=OPTIONAL)
    body: float = field(default=1.0, metadata=OPTIONAL)  # size of the anatomy relative to a person
    # The texture that shows heterogeneity fills the whole liver, so that it matters little where one looks.
    fills_liver: bool = field(default=False, metadata=OPTIONAL)
    # SD between subjects of the log amplitude of the liver's own texture: it tells nothing, and distracts.
    background: float = field(default=0.0, metadata=OPTIONAL)
    # response: what readers measure; any other name is a column of participants.tsv that holds R.
    label: str = field(default="response", metadata=OPTIONAL)
    followup: bool = field(default=True, metadata=OPTIONAL)  # imaging after treatment, without which nobody knows R
    survival: bool = field(default=True, metadata=OPTIONAL)
    progression: str = field(default="pfs", metadata=OPTIONAL)  # name of the earlier of progression and death
    # Share of subjects in whom the label, os or the progression endpoint is not recorded, by name.
    missing: dict[str, float] = field(default_factory=dict, metadata=OPTIONAL)
    weeks: list[int] = field(default_factory=list, metadata=OPTIONAL)  # of repeated scans; empty: one without a session
    # Log diameter a week of non-responders and of responders.
    growth: list[float] = field(default_factory=lambda: [0.0, 0.0], metadata=OPTIONAL)
    arms: dict[str, float] = field(default_factory=dict, metadata=OPTIONAL)  # dose by arm; subjects take turns


@dataclass(frozen=True)
class Parameters:
    """All parameters of one cohort."""

    seed: int
    groups: list[Group]
    scanners: dict[str, Scanner]
    faults: dict[str, list[str]] = field(default_factory=dict)
    latent_bound: float = 2.25  # heterogeneity, size and AFP are standard normal, cut at this
    clinical: Clinical = field(default_factory=Clinical)
    response: Response = field(default_factory=Response)
    survival: Survival = field(default_factory=Survival)
    tumour: Tumour = field(default_factory=Tumour)
    biology: Biology = field(default_factory=Biology)
    design: Design = field(default_factory=Design, metadata=OPTIONAL)

    @property
    def information(self) -> dict[str, tuple[str, ...]]:
        """What each kind of information may know."""
        return INFORMATION_ARMS if self.design.arms else INFORMATION

    @property
    def columns(self) -> dict[str, str]:
        """Columns of participants.tsv that show a variable of the generator."""
        return COLUMNS_ARMS if self.design.arms else COLUMNS

    def subjects(self) -> dict[str, str]:
        """Site of each subject, in the order of their identifiers."""
        return dict(sorted((s, site) for group in self.groups for s, site in group.subjects().items()))

    def has_fault(self, kind: str, subject: str) -> bool:
        """Whether `subject` carries the fault `kind` (see `hccflow.phantom.faults`)."""
        return subject in self.faults.get(kind, ())

    def stream(self, purpose: str, subject: str = "") -> np.random.Generator:
        """Random stream of one purpose for one subject: no other subject or purpose can shift it."""
        key = hashlib.sha256(f"{purpose}/{subject}".encode()).digest()
        return np.random.default_rng(np.random.SeedSequence([self.seed, int.from_bytes(key[:16], "big")]))

    def to_card(self) -> dict[str, Any]:
        """The parameters as plain values for ``source.parameters``."""
        return _prune(self, asdict(self))

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Parameters:
        """Read the parameters from a cohort's card.

        Raises
        ------
        ConfigError
            The card is not a phantom's, a parameter is unknown or missing, or a site has no scanner.
        """
        source = card.get("source") or {}
        if source.get("kind") != "phantom":
            raise ConfigError("not a phantom's card", where="source.kind", expected="phantom", found=source.get("kind"))
        raw = dict(source.get("parameters") or {})
        where = "source.parameters"
        _check_keys(cls, raw, where)
        raw["groups"] = [_build(Group, g, f"{where}.groups[{i}]") for i, g in enumerate(raw["groups"])]
        raw["scanners"] = {k: _build(Scanner, v, f"{where}.scanners.{k}") for k, v in raw["scanners"].items()}
        for name, part in (
            ("clinical", Clinical),
            ("response", Response),
            ("survival", Survival),
            ("tumour", Tumour),
            ("biology", Biology),
            ("design", Design),
        ):
            raw[name] = _build(part, raw.get(name, {}), f"{where}.{name}")
        parameters = cls(**raw)
        known = CHANNELS.get(parameters.design.modality, {})
        for name in parameters.design.channels:
            if name not in known:
                raise ConfigError(f"unknown channel '{name}'", where=f"{where}.design", expected=", ".join(known))
        for subject, site in parameters.subjects().items():
            check_id("subject", subject, where=f"{where}.groups")
            if site not in parameters.scanners:
                raise ConfigError(f"site '{site}' has no scanner", where=f"{where}.scanners", todo="add it")
        return parameters


def _prune(part: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Remove the optional values of a part, and of the parts in it, that equal their default."""
    for f in fields(part):
        own = getattr(part, f.name)
        if f.metadata.get("optional") and own == _default(f):
            del values[f.name]
        elif is_dataclass(own):
            _prune(own, values[f.name])
        elif isinstance(own, dict):
            for key, one in own.items():
                if is_dataclass(one):
                    _prune(one, values[f.name][key])
    return values


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _check_keys(part: type[Any], values: Mapping[str, Any], where: str) -> None:
    names = [f.name for f in fields(part)]
    needed = [f.name for f in fields(part) if not f.metadata.get("optional")]
    for key in (*(k for k in values if k not in names), *(n for n in needed if n not in values)):
        kind = "missing" if key in names else "unknown"
        raise ConfigError(
            f"{kind} parameter '{key}'", where=where, expected=", ".join(names),
            todo="write the card again with `hccflow phantom --out`",
        )  # fmt: skip


def _build(part: type[Any], values: Mapping[str, Any], where: str) -> Any:
    _check_keys(part, values, where)
    return part(**values)
