# Functions of wildcards: which files a job needs, and which part of the configuration it sees.
def images_of(wildcards):
    """Folder of the images. Only a phantom's is made by a rule; the time of a hospital's folder means nothing.

    An edge between two rules must never be ancient() alone: Snakemake then forgets the consumer when the producer runs.
    """
    path = str(STUDY.cohorts[wildcards.cohort].images)
    return path if wildcards.cohort in PHANTOMS else ancient(path)


def participants_of(wildcards):
    return str(STUDY.cohorts[wildcards.cohort].folder / "participants.tsv")


def role_of(wildcards):
    return STUDY.cohorts[wildcards.cohort].role.value


def shared_with(wildcards):
    """The development cohort with which a cohort shares subjects (empty when it shares none)."""
    return STUDY.cohorts[wildcards.cohort].subset_of


def converted(wildcards):
    """Conversion manifest of a cohort that has images."""
    return ["<results>/convert/{cohort}/manifest.tsv"] if wildcards.cohort in IMAGE_COHORTS else []


def features(wildcards, cohorts):
    roi = entry(wildcards).get("roi")
    return [f"<results>/extract/{name}/roi-{roi}/features.tsv" for name in cohorts if roi]


def development_features(wildcards):
    """Features of the development cohorts, and of no other, for a model that uses a region of interest."""
    return features(wildcards, DEVELOPMENT)


def development_outlines(wildcards):
    """Features of the regions by which a model judges how stable its own are, of the development cohorts."""
    rois = entry(wildcards).get("select", {}).get("stable", {}).get("rois", [])
    return [f"<results>/extract/{name}/roi-{roi}/features.tsv" for roi in rois for name in DEVELOPMENT]


def cohort_features(wildcards):
    """Features of one cohort for a model that uses a region of interest."""
    return features(wildcards, [wildcards.cohort])


def model_settings(wildcards):
    """Settings of one model: its own entry, so that a change of another model re-runs nothing here."""
    more = {"models": {wildcards.model: STUDY.models[wildcards.model]}}
    if wildcards.model in STUDY.variants:
        more["variant"] = STUDY.variants[wildcards.model].about
    survive = STUDY.config["survive"]
    keys = ("cut", "endpoints") if survive["cut"] == "maxstat" else ("cut",)
    return settings("columns", "endpoints", **more, survive={key: survive[key] for key in keys})


def crops(wildcards, names):
    """Manifests of the crops that a network sees."""
    network = entry(wildcards).get("network")
    return [f"<results>/extract/{name}/crop-{network['crop']}/manifest.tsv" for name in names if network]


def development_crops(wildcards):
    """Crops' manifests of the development cohorts, and of no other."""
    return crops(wildcards, DEVELOPMENT)


def cohort_crops(wildcards):
    """Crops' manifest of one cohort."""
    return crops(wildcards, [wildcards.cohort])


def crop_settings(wildcards):
    """Settings of one crop: only the region and the normalisation that it sees."""
    box, extract = STUDY.config["crops"][wildcards.crop], STUDY.config["extract"]
    seen = {"rois": {box["roi"]: extract["rois"][box["roi"]]}, "intensity": extract["intensity"]}
    return settings("imaging", extract=seen, crops={wildcards.crop: box})


def inputs_of(pattern):
    """Input function: one file for each model that a fusion stacks (none for another model)."""

    def find(wildcards):
        names = STUDY.models[wildcards.model].get("inputs", [])
        return expand(pattern, input=names, allow_missing=True)

    return find


def folder_of(path):
    """Function of parameters: the folders of the files of a named input."""
    return lambda wildcards, input: [str(Path(file).parent) for file in input[path]]


def converted_batches(names, ending="", stage="convert"):
    """Converted (or segmented) batch folders of cohorts, or their manifests (ending ".tsv")."""
    found = [(name, batch) for name in names if name in IMAGE_COHORTS for batch in STUDY.cohorts[name].batches]
    return [f"<results>/{stage}/{name}/batch-{batch}{ending}" for name, batch in found]


def report_settings():
    """The whole configuration in the order of its file, the cohorts' cards and, for a phantom, the known truth."""
    sections = [key for key in STUDY.config if key not in ("study", "seed", "data")]
    return json.dumps({**STUDY.section(*sections), "cards": STUDY.cards, "truth": STUDY.truth, "digests": DIGESTS})


def segment_settings(*keys):
    """Settings of a segment rule: only the keys that it sees; empty when the study segments nothing."""
    return settings("imaging", segment={k: SEGMENT[k] for k in keys if k in SEGMENT}) if SEGMENT else ""


def frozen_networks(wildcards):
    """The frozen ensemble, for a cohort whose masks are not imported."""
    return [] if wildcards.cohort in SEGMENT["imported"] else ["<results>/segment/freeze.json"]


def predicted_masks(wildcards):
    """Manifest of the predicted masks, for a region (or the region of a crop) whose source is nnunet."""
    roi = wildcards.roi if "roi" in wildcards.keys() else STUDY.config["crops"][wildcards.crop]["roi"]
    predicted = STUDY.config["extract"]["rois"][roi]["source"] == "nnunet"
    return ["<results>/segment/{cohort}/batch-{batch}.tsv"] if predicted else []


def environment_of_model(wildcards):
    """Environment that opens a model: only a network, also one that was chosen among networks, needs torch."""
    return f"../../envs/{'segment' if entry(wildcards)['kind'] == 'network' else 'models'}.yaml"


def table_of(name):
    """Input function: a table in the cohort's folder, left out where the cohort has none."""

    def find(wildcards):
        path = STUDY.cohorts[wildcards.cohort].folder / name
        return [str(path)] if path.is_file() else []

    return find


def rows_digest(wildcards):
    return STUDY.cohorts[wildcards.cohort].rows_digest(wildcards.batch)


def source_digest(wildcards):
    made = code("phantom") if wildcards.cohort in PHANTOMS else ""
    try:
        return STUDY.cohorts[wildcards.cohort].source_digest(wildcards.batch) + made
    except HccflowError as error:
        raise WorkflowError(f"{type(error).__name__}: {error}") from None


def batches(pattern):
    """Input function: one file per batch of the cohort."""
    return lambda wildcards: expand(
        pattern, batch=STUDY.cohorts[wildcards.cohort].batches, allow_missing=True, **dict(wildcards)
    )


def folder_of_cohort(wildcards):
    return str(STUDY.cohorts[wildcards.cohort].folder)
