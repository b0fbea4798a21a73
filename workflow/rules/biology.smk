# Functions of wildcards of the stage relate: where signatures and laboratory tables come from.
def signature_sources(kind):
    """Models (or regions of interest, networks, tables) from which the stage relate takes its signatures."""
    return list(dict.fromkeys(s[kind] for s in RELATE.get("signatures", {}).values() if kind in s))


def signature_features(names):
    """Tables of features from which the stage relate takes signatures of cohorts."""
    regions, networks = signature_sources("roi"), signature_sources("network")
    imaged = [name for name in names if name in IMAGE_COHORTS]
    drawn = expand("<results>/extract/{cohort}/roi-{roi}/features.tsv", cohort=names, roi=regions)
    return drawn + expand("<results>/validate/{cohort}/{network}.features.tsv", cohort=imaged, network=networks)


def laboratory_tables(names):
    """What was measured beside the images of cohorts, where it was: expression, histology, imported features."""
    tables = [RELATE[part]["table"] for part in ("genes", "histology") if part in RELATE]
    folders = [STUDY.cohorts[name].folder for name in names]
    return [str(f / t) for f in folders for t in [*tables, *signature_sources("table")] if (f / t).is_file()]


def of_cohort(function):
    """Input function: what a function of cohorts gives for the one of the job."""
    return lambda wildcards: function([wildcards.cohort])


def gene_sets():
    """The file of gene sets, for a study that names one."""
    return [str(STUDY.data / RELATE["genes"]["sets"])] if "sets" in RELATE.get("genes", {}) else []
