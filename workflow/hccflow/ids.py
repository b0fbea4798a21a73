"""Identifiers and the closed vocabularies that tables share."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

from hccflow.errors import TableError

#: Letters and digits only: BIDS entity values, and nothing a shell could read as syntax.
SUBJECT = r"[A-Za-z0-9]{1,32}"
SESSION = r"[A-Za-z0-9]{1,16}"
COHORT = r"[a-z0-9][a-z0-9-]{0,31}"
STUDY = r"[a-z0-9][a-z0-9_-]{0,31}"
MODEL = r"[a-z][a-z0-9_]{0,31}"
#: Model that an experiment makes: its base, two underscores, what is changed.
VARIANT = r"[a-z][a-z0-9_]{0,31}__[a-z0-9][a-z0-9_]{0,47}"
ROI = r"[a-z][a-z0-9]{0,15}"
BATCH = r"[0-9]{2,4}"
#: Name of the Cox model of the clinical covariates that survive fits on the training rows; no other model has it.
CLINICAL_COX = "clinical_cox"
PATTERNS = {
    "subject": SUBJECT,
    "session": SESSION,
    "cohort": COHORT,
    "study": STUDY,
    "model": MODEL,
    "roi": ROI,
    "batch": BATCH,
}


class Role(StrEnum):
    """What a subject may be used for. Only ``train`` rows may teach; the others may only judge."""

    TRAIN = "train"
    TEST = "test"
    EXTERNAL = "external"
    FOLLOWUP = "followup"


class CohortRole(StrEnum):
    """What a cohort is in this study, as the configuration declares it."""

    DEVELOPMENT = "development"
    EXTERNAL = "external"
    FOLLOWUP = "followup"


class Status(StrEnum):
    """What became of a case in a stage. Nobody drops a row."""

    OK = "ok"
    EXCLUDED = "excluded"
    FAILED = "failed"


class ScoreKind(StrEnum):
    """Where a score comes from: ``oof`` (out of fold), ``frozen`` (unseen subjects) or ``apparent`` (training rows)."""

    OOF = "oof"
    FROZEN = "frozen"
    APPARENT = "apparent"


def check_id(kind: str, value: str, *, where: object = None) -> str:
    """Return `value` when it is a valid identifier of `kind` (a key of ``PATTERNS``), else raise `TableError`."""
    if not isinstance(value, str) or not re.fullmatch(PATTERNS[kind], value):
        raise TableError(
            f"invalid {kind} identifier",
            where=where,
            expected=f"match of {PATTERNS[kind]}",
            found=repr(value),
            todo=f"rename the {kind}; identifiers become file names, so only these characters are allowed",
        )
    return value


def assign_batch(subject: str, n_batches: int) -> str:
    """Batch of a subject, a stable function of its identifier: adding a patient never moves another one."""
    digest = hashlib.sha256(subject.encode()).digest()
    width = max(2, len(str(n_batches)))
    return f"{int.from_bytes(digest[:8], 'big') % n_batches + 1:0{width}d}"
