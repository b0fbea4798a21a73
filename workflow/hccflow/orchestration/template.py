"""The files of a new study: few, complete, and correct as they stand, so that what is left to do is to replace them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hccflow.ids import assign_batch

CONFIG = """\
# {name}: every key is explained in docs/config.md. `hccflow check --configfile {config_file}` tells what is missing.
study: {name}
title: "One sentence: does what predict what, in whom?"
summary: ""
seed: 1
data: data

# A folder of `data` each. development may teach; external and followup may only judge.
cohorts:
  {name}-dev: {{role: development}}
  {name}-ext: {{role: external}}

# Every column of participants.tsv besides subject, session, site and batch, with when its value is known.
columns:
  age: {{kind: number, label: Age, unit: years, minimum: 18, maximum: 110, available_at: baseline}}
  afp_ng_ml: {{kind: number, label: Alpha-fetoprotein, unit: ng/ml, minimum: 0, available_at: baseline}}
  os_days: {{kind: number, label: Overall survival, unit: days, minimum: 0, available_at: outcome}}
  os_event: {{kind: binary, label: Death, available_at: outcome}}

endpoints:
  response:
    kind: binary
    label: Objective response (mRECIST)
    source: mrecist              # derived from lesions.tsv; see docs/endpoints.md
    positive: [CR, PR]
    favourable: true
  os: {{kind: survival, label: Overall survival, time: os_days, event: os_event}}

eligibility:
  - {{name: "Phases and tumour mask usable", images: [arterial, tumour]}}
  - {{name: "Response assessable", endpoint: response}}

split: {{folds: 5, stratify: [response]}}

imaging:
  modality: CT
  channels: [arterial, portal]
  reference: arterial
  masks: [tumour]

extract:
  rois:
    manual: {{source: reference, mask: tumour}}
  radiomics:
    setting: {{binWidth: 25, resampledPixelSpacing: [2, 2, 2]}}
    imageType: {{Original: {{}}}}
    featureClass: {{shape: [], firstorder: [], glcm: []}}

models:
  clinical: {{kind: tabular, label: Clinical, endpoint: response, columns: [age, afp_ng_ml], learner: logistic}}
  radiomics:
    kind: tabular
    label: Radiomics
    endpoint: response
    roi: manual
    select: {{variance: 0, correlation: 0.9, lasso: true, max_features: 10}}
    learner: ridge

# The one comparison named before any model is frozen; all else is exploratory.
primary: {{endpoint: response, model: radiomics, comparator: clinical, cohort: {name}-ext, metric: auc}}

validate: {{bootstrap: 2000}}

survive:
  endpoints: [os]
  models: [clinical, radiomics]
  times_days: [365, 730]

report:
  known_limits:
    - What a reader must know before believing a number of this study.
"""
CARD = """\
title: {title}
description: Where, when and how this cohort was collected.
licence: Terms under which its data may be used.
batches: 4          # units of cluster jobs; about 25 patients in each is good
source: {{kind: dicom}}    # dicom, nifti, or table (features.tsv instead of images)
"""
N_BATCHES = 4
LESIONS = ("subject", "reader", "timepoint", "days", "lesion", "target", "diameter_mm", "viable_mm", "new_lesion")
#: Two rows for each cohort; `hccflow check` counts them as examples would be counted.
EXAMPLES = {"dev": [("EXA001", 61, 12.5, 412, 1), ("EXA002", 70, 800.0, 690, 0)],
            "ext": [("EXB001", 55, 4.0, 250, 1), ("EXB002", 66, 31.0, 900, 0)]}  # fmt: skip


def example_study(name: str, config_file: Path) -> dict[Path, str]:
    """Files of a new study by path: configuration, and for each cohort its card, participants and lesions."""
    files = {config_file: CONFIG.format(name=name, config_file=config_file)}
    for part, title in (("dev", "Development"), ("ext", "External")):
        folder = Path("data", f"{name}-{part}")
        rows = [(s, "", "A", assign_batch(s, N_BATCHES), *more) for s, *more in EXAMPLES[part]]
        header = ("subject", "session", "site", "batch", "age", "afp_ng_ml", "os_days", "os_event")
        files[folder / "cohort.yaml"] = CARD.format(title=f"{name}, {title.lower()}")
        files[folder / "participants.tsv"] = _tsv(header, rows)
        lesions = [
            (s, "R1", point, days, "L1", 1, size, viable, new)
            for s, *_ in EXAMPLES[part]
            for point, days, size, viable, new in (("baseline", 0, 30.0, 28.0, ""), ("followup", 42, 28.0, 10.0, 0))
        ]
        files[folder / "lesions.tsv"] = _tsv(LESIONS, lesions)
    return files


def _tsv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in (header, *rows))


def todo_list(name: str, config_file: Path) -> str:
    """What the user does next, in order."""
    return f"""
To fill in, in this order:
  1. data/{name}-dev/, data/{name}-ext/
       cohort.yaml       the card: title, description, licence, kind of images
       participants.tsv  one row per patient in place of the examples EXA…, EXB… (pseudonyms, days since the index date)
       lesions.tsv       diameters per reader, lesion and time point
       dicom/            the images (or nifti/); never in git
  2. {config_file}: title, columns, endpoints, eligibility, models, and the one primary comparison
  3. hccflow index --images data/{name}-dev/dicom --participants data/{name}-dev/participants.tsv
       then correct the column `name` of data/{name}-dev/dicom/series.tsv; the same for {name}-ext
  4. hccflow check --configfile {config_file}           until nothing is missing
  5. hccflow init --stages --configfile {config_file}   after cohorts, models or keys were added
  6. snakemake --configfile {config_file}, or dvc repro {dvc_path(config_file)}"""


def dvc_path(config_file: Path) -> str:
    """Path of the study's stages as the command line wants it."""
    return str(config_file.with_suffix("") / "dvc.yaml")
