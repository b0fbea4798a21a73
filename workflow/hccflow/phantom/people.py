"""One subject of the phantom: what is true about it, the same in every table, image and cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hccflow.phantom import process
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


def person(p: Parameters, subject: str, site: str) -> Person:
    """Draw one subject from its own random stream."""
    rng = p.stream("person", subject)
    covariates = process.draw_covariates(p, rng, 1)
    response = process.draw_response(p.response, rng, covariates)
    ratio, new_lesion = process.draw_course(p.response, rng, response)
    diameters = process.draw_diameters(p, rng, covariates["size"])
    age = int(np.clip(round(p.clinical.age_mean + p.clinical.age_sd * rng.standard_normal()), 30, 90))
    sex = "M" if rng.random() < p.clinical.male else "F"
    bclc = "B" if rng.random() < p.clinical.bclc_b else "A"
    return Person(
        subject, site, covariates, bool(response[0]), float(ratio[0]), bool(new_lesion[0]), diameters[0],
        age, sex, "C" if p.has_fault("ineligible", subject) else bclc,
    )  # fmt: skip


def people(p: Parameters) -> list[Person]:
    """All subjects of a cohort, by identifier."""
    return [person(p, subject, site) for subject, site in p.subjects().items()]
