"""Fake identities, planted in the DICOM so that tests can search every output for them.

Nobody is meant: names are made of syllables, and all of it follows from the card's seed and the subject.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from hccflow.errors import ConfigError
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import BASELINE, Person, Visit, person, visits

_START = ("Quor", "Zwi", "Brax", "Fjel", "Yso", "Vok", "Thrym", "Oxen", "Kvist", "Glaub", "Wysz", "Hoev")
_MIDDLE = ("ven", "dra", "mond", "lith", "zeb", "torp", "nax", "rhin", "quist", "bluth")
_END = ("hal", "dine", "wicz", "borg", "mann", "eira", "stad", "ovic", "thorne", "quell")


@dataclass(frozen=True)
class Identity:
    """Everything by which a hospital would know the subject."""

    family: str
    given: str
    patient_id: str
    accession: str
    birth: date
    sex: str
    age: int
    study: date
    institution: str
    physician: str
    operator: str
    address: str
    phone: str
    station: str
    serial: str
    study_uid: str
    frame_uid: str
    series_uids: dict[str, str]  # of every channel, and seg

    @property
    def name(self) -> str:
        """Patient's name as DICOM writes it."""
        return f"{self.family}^{self.given}"

    @property
    def comment(self) -> str:
        """Free text of a careless radiographer."""
        return f"Pat. {self.given} {self.family}, geb. {self.birth:%d.%m.%Y}, Tel. {self.phone}"

    @property
    def patient_folder(self) -> str:
        """Folder of the patient, as a hospital's export names it."""
        return f"{self.patient_id}_{self.family}_{self.given}"

    @property
    def study_folder(self) -> str:
        """Folder of the study."""
        return f"{self.study:%Y%m%d}_{self.accession}"


def uid(*parts: object) -> str:
    """A valid UID (under 2.25, as from a UUID) that follows from `parts`."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def identity(p: Parameters, one: Person, visit: Visit = BASELINE) -> Identity:
    """Identity of one subject; the hospital and its staff belong to the site, date and study to the visit."""
    rng = p.stream("identity", one.subject)
    hospital = p.stream("hospital", one.site)
    study = date(2013, 1, 1) + timedelta(days=int(rng.integers(0, 2000)))
    birth = study - timedelta(days=int(one.age * 365.25 + rng.integers(5, 360)))
    who = [one.subject, visit.session] if visit.session else [one.subject]
    family, given = _word(rng) + _END[rng.integers(len(_END))], _word(rng) + "a"
    return Identity(
        family=family,
        given=given,
        patient_id=f"H{rng.integers(10**8, 10**9)}",
        accession=f"ACC{rng.integers(10**9, 10**10) + visit.week}",
        birth=birth,
        sex=one.sex,
        age=one.age,
        study=study + timedelta(days=7 * visit.week),
        institution=f"Klinikum St. {_word(hospital)}{_END[hospital.integers(len(_END))]}",
        physician=f"{_word(hospital)}{_END[hospital.integers(len(_END))]}^Dr",
        operator=f"{_word(hospital)}{_END[hospital.integers(len(_END))]}",
        address=f"{_word(rng)}gasse {rng.integers(1, 99)}",
        phone=f"0555-{rng.integers(10**7, 10**8)}",
        station=f"{p.design.modality}{_word(hospital).upper()}",
        serial=f"SN{hospital.integers(10**7, 10**8)}",
        study_uid=uid(p.seed, *who, "study"),
        frame_uid=uid(p.seed, *who, "frame"),
        series_uids={name: uid(p.seed, *who, name) for name in (*p.design.channels, "seg")},
    )


def _word(rng: np.random.Generator) -> str:
    return _START[rng.integers(len(_START))] + _MIDDLE[rng.integers(len(_MIDDLE))]


def planted_identities(card: Mapping[str, Any], subject: str) -> list[str]:
    """Every string that identifies `subject` in its DICOM and must not be found in any output.

    Names (as DICOM, as free text and in each part), patient ID, accession number, birth and study date in three
    notations, hospital, staff, device, address, telephone, folders and UIDs.

    Raises
    ------
    ConfigError
        The subject is not on the card.
    """
    p = Parameters.from_card(card)
    sites = p.subjects()
    if subject not in sites:
        raise ConfigError(f"unknown subject '{subject}'", where="source.parameters.groups")
    one = person(p, subject, sites[subject])
    found = [text for visit in visits(p, one) for text in _strings(identity(p, one, visit))]
    return list(dict.fromkeys(found)) if p.design.weeks else found


def _strings(who: Identity) -> list[str]:
    dates = [f"{day:{form}}" for day in (who.birth, who.study) for form in ("%Y%m%d", "%Y-%m-%d", "%d.%m.%Y")]
    return [
        *(who.name, who.family, who.given, who.patient_id, who.accession, *dates),
        *(who.institution, who.physician, who.operator, who.address, who.phone, who.station, who.serial, who.comment),
        *(who.patient_folder, who.study_folder, who.study_uid, who.frame_uid, *who.series_uids.values()),
    ]
