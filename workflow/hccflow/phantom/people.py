"""One subject of the phantom: what is true about it, the same in every table, image and cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hccflow.phantom import process
from hccflow.phantom.faults import SMALL
from hccflow.phantom.parameters import Parameters


@dataclass(frozen=True)
class Person:
    """The truth about one subject. Arrays have the shapes of `hccflow.phantom.process` with n = 1."""

    subject: str
    site: str
    covariates: dict[str, NDArray[np.float64]]
    response: bool
    ratio: float
    new_lesion: bool
    diameters: NDArray[np.float64]
    age: int
    sex: str
    bclc: str
    arm: str = ""

    @property
    def heterogeneity(self) -> float:
        """Latent heterogeneity, a cut standard normal."""
        return float(self.covariates["heterogeneity"][0])

    @property
    def size(self) -> float:
        """Latent log size, a cut standard normal."""
        return float(self.covariates["size"][0])

    @property
    def child_pugh(self) -> str:
        """Child-Pugh class."""
        return "B" if self.covariates["child_pugh_b"][0] else "A"


@dataclass(frozen=True)
class Visit:
    """One scan of a subject: session (empty where there is one), week, and diameter over that of the first scan."""

    session: str = ""
    week: int = 0
    growth: float = 1.0

    def stream_of(self, subject: str) -> str:
        """Name of the subject's random stream at this visit."""
        return f"{subject}/{self.session}" if self.session else subject


BASELINE = Visit()


def visits(p: Parameters, one: Person) -> list[Visit]:
    """Scans of one subject, by week."""
    rate = p.design.growth[int(one.response)]
    return [Visit(f"w{week}", week, float(np.exp(rate * week))) for week in p.design.weeks] or [BASELINE]


def person(p: Parameters, subject: str, site: str) -> Person:
    """Draw one subject from its own random stream."""
    rng = p.stream("person", subject)
    covariates = process.draw_covariates(p, rng, 1)
    arm = ""
    if p.design.arms:
        number = int("".join(filter(str.isdigit, subject)))
        arm = list(p.design.arms)[number % len(p.design.arms)]
        covariates["treatment"] = np.array([p.design.arms[arm]])
    response = process.draw_response(p.response, rng, covariates)
    ratio, new_lesion = process.draw_course(p.response, rng, response)
    diameters = process.draw_diameters(p, rng, covariates["size"])
    if p.has_fault("small_tumour", subject):
        diameters = diameters * SMALL
    age = int(np.clip(round(p.clinical.age_mean + p.clinical.age_sd * rng.standard_normal()), 30, 90))
    sex = "M" if rng.random() < p.clinical.male else "F"
    bclc = "B" if rng.random() < p.clinical.bclc_b else "A"
    return Person(
        subject, site, covariates, bool(response[0]), float(ratio[0]), bool(new_lesion[0]), diameters[0],
        age, sex, "C" if p.has_fault("ineligible", subject) else bclc, arm,
    )  # fmt: skip


def people(p: Parameters) -> list[Person]:
    """All subjects of a cohort, by identifier."""
    return [person(p, subject, site) for subject, site in p.subjects().items()]
