# The checked study, lists for expand, and one shell prefix for all jobs; inputs.smk has the functions of wildcards.
import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

LIBRARY = Path(workflow.basedir) / "workflow"
sys.path.insert(0, str(LIBRARY))

from hccflow import ids
from hccflow.errors import HccflowError
from hccflow.orchestration.guard import guard
from hccflow.provenance import code_digest as code, digest_of, file_digest, folder_digest
from hccflow.study import load_study

CONFIG_FILE = Path((workflow.config_settings.configfiles or ["config.yaml"])[0])

try:
    STUDY = load_study(config)
    if workflow.is_main_process:
        guard(STUDY, CONFIG_FILE)
except HccflowError as error:
    raise WorkflowError(f"{type(error).__name__}: {error}") from None

COHORTS = list(STUDY.cohorts)
DEVELOPMENT = STUDY.development
IMAGE_COHORTS = [name for name, cohort in STUDY.cohorts.items() if cohort.has_images]
TABLE_COHORTS = [name for name in COHORTS if name not in IMAGE_COHORTS]
PHANTOMS = [name for name, c in STUDY.cohorts.items() if c.card["source"]["kind"] == "phantom"]
ROIS = list(STUDY.config["extract"]["rois"])
CROPS = list(STUDY.config["crops"])
MODELS = list(STUDY.config["models"])
TRAINED = list(STUDY.models)
KIND = {name: model["kind"] for name, model in STUDY.models.items()}
TABULAR, NETWORKS, FUSIONS, CHOICES = (
    [name for name in TRAINED if KIND[name] == kind] for kind in ("tabular", "network", "fusion", "choice")
)
ODDS = expand("<results>/train/{model}/odds_ratios.tsv", model=STUDY.clinical_logistic)
PLACES = [f"{r}-{f}" for r in range(STUDY.config["split"]["repeats"]) for f in range(STUDY.config["split"]["folds"])]
EXPLAINED = expand(
    "<results>/validate/{cohort}/{model}.{made}",
    cohort=IMAGE_COHORTS,
    model=STUDY.explained,
    made=["cam", "dice.tsv"],
)
SEGMENT = STUDY.config.get("segment", {})
SEGMENTED = IMAGE_COHORTS if SEGMENT else []
# nothing is trained where every cohort's masks are imported
SEGMENT_FROZEN = expand(
    "<results>/segment/{file}",
    file=["freeze.json", "model/cases.tsv"] if set(SEGMENTED) - set(SEGMENT.get("imported", ())) else [],
)
MASKS = ["<results>/segment/dice.tsv"] if SEGMENT else []
SURVIVAL = expand(
    "<results>/survive/{cohort}/metrics.tsv", cohort=COHORTS if STUDY.config["survive"]["endpoints"] else []
)
COVARIATES = STUDY.config["survive"]["covariates"]
RELATE = STUDY.config.get("relate", {})
RELATED = expand("<results>/relate/{cohort}/metrics.tsv", cohort=RELATE.get("cohorts", COHORTS) if RELATE else [])
EXTERNAL = [name for name, cohort in STUDY.cohorts.items() if cohort.role.value == "external" and not cohort.subset_of]
POOLED = ["<results>/validate/pooled.tsv"] if len(EXTERNAL) > 1 else []
LOCK = LIBRARY.parent / "requirements.lock"
DIGESTS = {"configuration": digest_of(STUDY.config), LOCK.name: file_digest(LOCK)}
WILDCARDS = {
    **{name: ids.PATTERNS[name] for name in ("batch",)},
    **{name: "|".join(values) for name, values in (("cohort", COHORTS), ("model", TRAINED), ("roi", ROIS)) if values},
    "crop": "|".join(CROPS) or "(?!)",
}

# One prefix: conda environments do not see the checkout, an environment that was not activated is not in PATH, and one
# BLAS thread a process makes numbers independent of the number of cores. Cores are used by processes (--jobs).
_environment = (
    "" if workflow.deployment_settings.deployment_method else f'export PATH="{Path(sys.executable).parent}:$PATH"; '
)
shell.executable("bash")
shell.prefix(
    f'set -euo pipefail; {_environment}export PYTHONPATH="{LIBRARY}" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 '
    "MKL_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1; "
)


def settings(*sections, **more):
    """Inline JSON of the parts of the configuration that a stage depends on: a changed key re-runs what sees it."""
    return json.dumps({**STUDY.section(*sections), **more}, sort_keys=True)


def choose(names):
    """Wildcard pattern that matches exactly these names (nothing when there are none)."""
    return "|".join(names) or "(?!)"


# With --sdm apptainer every job runs inside this image (docs/conda.md); without that option the line means nothing.
container: os.environ.get("HCCFLOW_CONTAINER", "hccflow.sif")
