# DICOM or NIfTI -> volumes, masks, QC pictures and de-identified sidecars, one job per batch.
rule convert:
    input:
        images=images_of,
        participants=ancient(participants_of),
    output:
        folder=directory("<results>/convert/{cohort}/batch-{batch}"),
        manifest="<results>/convert/{cohort}/batch-{batch}.tsv",
    log:
        "<logs>/convert/{cohort}/batch-{batch}.log",
    benchmark:
        "<benchmarks>/convert/{cohort}/batch-{batch}.tsv"
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    conda:
        "../../envs/convert.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, each=2000),
        runtime=runtime(60),
    params:
        settings=settings("imaging", "convert"),
        code=code("convert"),
        rows=rows_digest,
        source=source_digest,
    shell:
        "python -m hccflow convert --cohort {wildcards.cohort} --batch {wildcards.batch} --images {input.images:q}"
        " --participants {input.participants:q} --settings {params.settings:q} --folder {output.folder:q}"
        " --manifest {output.manifest:q} --jobs {threads} 2>&1 | tee {log:q}"


rule convert_gather:
    input:
        manifests=batches("<results>/convert/{cohort}/batch-{batch}.tsv"),
    output:
        manifest="<results>/convert/{cohort}/manifest.tsv",
    log:
        "<logs>/convert/{cohort}/gather.log",
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    localrule: True
    conda:
        "../../envs/convert.yaml"
    params:
        code=code("gather"),
    shell:
        "python -m hccflow gather --manifests {input.manifests:q} --out {output.manifest:q} 2>&1 | tee {log:q}"
