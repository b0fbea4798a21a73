# The phantom's DICOM: made from the card, so that a clone of the repository holds the whole study.
phantom_images = [str(STUDY.cohorts[name].images) for name in PHANTOMS]


rule phantom:
    input:
        card=f"{STUDY.data}/{{cohort}}/cohort.yaml",
    output:
        images=directory(f"{STUDY.data}/{{cohort}}/dicom"),
    log:
        "<logs>/phantom/{cohort}.log",
    benchmark:
        "<benchmarks>/phantom/{cohort}.tsv"
    wildcard_constraints:
        cohort=choose(PHANTOMS),
    conda:
        "../../envs/convert.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        code=code("phantom"),
    shell:
        "python -m hccflow phantom --card {input.card:q} --dicom {output.images:q} 2>&1 | tee {log:q}"
