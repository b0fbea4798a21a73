# Variants of declared models: which are trained, chosen among, compared and judged. docs/experiment.md explains them.
from hccflow.variants import candidates, entry_of

COMPARED = list(dict.fromkeys(name for one in STUDY.variants.values() for name in (one.base, one.name)))
EXPERIMENT = ["<results>/validate/experiment.tsv"] if COMPARED else []
VARIANTS_LEDGER = f"ledger/{STUDY.name}.variants.tsv"


def entry(wildcards):
    """Entry of a model; a choice sees what its candidates see."""
    return entry_of(STUDY.models[wildcards.model], STUDY.config)


def network_gpus(wildcards):
    """GPUs of one network's job."""
    return gpus(STUDY.models[wildcards.model]["network"]["device"])


def candidates_of(wildcards):
    """The frozen models among which a choice is made."""
    names = candidates(STUDY.config, STUDY.models[wildcards.model]["choose"]["among"])
    return expand("<results>/train/{candidate}/freeze.json", candidate=names)


def networks_of_folds(wildcards):
    """The networks that have judged the folds: a model's own, or those of a choice's candidates."""
    name, chosen = wildcards.model, "choose" in STUDY.models[wildcards.model]
    names = candidates(STUDY.config, STUDY.models[name]["choose"]["among"]) if chosen else [name]
    return expand("<results>/train/{name}/fold-{place}/model", name=names, place=PLACES)


def selections_of_candidates():
    """Selections of the models among which the study chooses: the report tells that of the chosen one."""
    among = {STUDY.models[name]["choose"]["among"] for name in CHOICES}
    names = {name for sweep in among for name in candidates(STUDY.config, sweep)}
    return expand("<results>/train/{name}/selection.tsv", name=sorted(names))


def judged(cohort):
    """Models that are judged in a cohort: the declared ones, and variants whose sweep names it."""
    sweeps = STUDY.config["experiment"]
    return [*MODELS, *(name for name, one in STUDY.variants.items() if cohort in sweeps[one.sweep]["cohorts"])]


def scores_of_cohort(wildcards):
    """Scores of every model that is judged in a cohort."""
    return expand(
        "<results>/validate/{cohort}/{model}.predictions.tsv", cohort=wildcards.cohort, model=judged(wildcards.cohort)
    )


def experiment_settings():
    """What the comparison of variants sees: their names, changes and digests, not the rest of the study."""
    declared = [
        {
            **one.about,
            "changes": json.dumps(one.about["changes"], sort_keys=True),
            "variant": name,
            "label": one.spec["label"],
        }
        for name, one in STUDY.variants.items()
    ]
    return settings("validate", variants=declared)
