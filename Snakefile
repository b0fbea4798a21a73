# hccflow: a tumour-imaging response study from DICOM to report. Each stage has its rules, its command, its tests and
# its folder of results under one word; docs/design.md is the map.
from snakemake.utils import min_version

min_version("9.14")


# Another study is another whole file (--configfile), never a patch of the default one: Snakemake would merge the two.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/biology.smk"
include: "workflow/rules/variants.smk"


pathvars:
    results=f"results/{STUDY.name}",
    logs=f"logs/{STUDY.name}",
    benchmarks=f"logs/{STUDY.name}/benchmarks",
    work=f".hccflow/work/{STUDY.name}",


wildcard_constraints:
    **WILDCARDS,


include: "workflow/rules/phantom.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/enrol.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/extract.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/validate.smk"
include: "workflow/rules/survive.smk"
include: "workflow/rules/relate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output.page,
        MASKS,


rule all_phantom:
    input:
        phantom_images,


rule all_convert:
    input:
        expand("<results>/convert/{cohort}/manifest.tsv", cohort=IMAGE_COHORTS),


rule all_enrol:
    input:
        expand("<results>/enrol/{cohort}/subjects.tsv", cohort=COHORTS),
        "<results>/enrol/split.tsv",


rule all_segment:
    input:
        MASKS,


rule all_extract:
    input:
        expand(
            "<results>/extract/{cohort}/roi-{roi}/features.tsv",
            cohort=COHORTS,
            roi=ROIS,
        ),


rule all_train:
    input:
        expand("<results>/train/{model}/freeze.json", model=TRAINED),
        ODDS,


rule all_validate:
    input:
        expand("<results>/validate/{cohort}/metrics.tsv", cohort=COHORTS),
        POOLED,
        EXPERIMENT,


rule all_survive:
    input:
        SURVIVAL,


rule all_relate:
    input:
        RELATED,
