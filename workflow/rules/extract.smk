# Volume and mask -> radiomic features, one job per batch and region of interest; or features imported as a table.
rule extract:
    input:
        folder=ancient("<results>/convert/{cohort}/batch-{batch}"),
        manifest="<results>/convert/{cohort}/batch-{batch}.tsv",
        masks=predicted_masks,
    output:
        folder=directory("<results>/extract/{cohort}/roi-{roi}/batch-{batch}"),
        manifest="<results>/extract/{cohort}/roi-{roi}/batch-{batch}.tsv",
    log:
        "<logs>/extract/{cohort}/roi-{roi}/batch-{batch}.log",
    benchmark:
        "<benchmarks>/extract/{cohort}/roi-{roi}/batch-{batch}.tsv"
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, each=2000),
        runtime=runtime(120),
    params:
        settings=settings("imaging", "extract"),
        code=code("extract"),
    shell:
        "python -m hccflow extract --cohort {wildcards.cohort} --roi {wildcards.roi} --folder-in {input.folder:q}"
        " --manifest-in {input.manifest:q} --masks-in {input.masks:q} --settings {params.settings:q} --folder {output.folder:q}"
        " --manifest {output.manifest:q} --jobs {threads} 2>&1 | tee {log:q}"


rule extract_gather:
    input:
        manifests=batches("<results>/extract/{cohort}/roi-{roi}/batch-{batch}.tsv"),
        folders=ancient(batches("<results>/extract/{cohort}/roi-{roi}/batch-{batch}")),
    output:
        manifest="<results>/extract/{cohort}/roi-{roi}/manifest.tsv",
        features="<results>/extract/{cohort}/roi-{roi}/features.tsv",
    log:
        "<logs>/extract/{cohort}/roi-{roi}/gather.log",
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    localrule: True
    conda:
        "../../envs/models.yaml"
    params:
        code=code("gather"),
    shell:
        "python -m hccflow gather --manifests {input.manifests:q} --out {output.manifest:q}"
        " --features-in {input.folders:q} --features-out {output.features:q} 2>&1 | tee {log:q}"


rule extract_import:
    input:
        features=table_of("features.tsv"),
        participants=participants_of,
    output:
        manifest="<results>/extract/{cohort}/roi-{roi}/manifest.tsv",
        features="<results>/extract/{cohort}/roi-{roi}/features.tsv",
    log:
        "<logs>/extract/{cohort}/roi-{roi}/import.log",
    wildcard_constraints:
        cohort=choose(TABLE_COHORTS),
    localrule: True
    conda:
        "../../envs/models.yaml"
    params:
        code=code("extract"),
    shell:
        "python -m hccflow extract --import {input.features:q} --participants {input.participants:q}"
        " --cohort {wildcards.cohort} --roi {wildcards.roi} --out-features {output.features:q}"
        " --out-manifest {output.manifest:q} 2>&1 | tee {log:q}"


rule crop:
    input:
        folder=ancient("<results>/convert/{cohort}/batch-{batch}"),
        manifest="<results>/convert/{cohort}/batch-{batch}.tsv",
        masks=predicted_masks,
    output:
        folder=directory("<results>/extract/{cohort}/crop-{crop}/batch-{batch}"),
        manifest="<results>/extract/{cohort}/crop-{crop}/batch-{batch}.tsv",
    log:
        "<logs>/extract/{cohort}/crop-{crop}/batch-{batch}.log",
    benchmark:
        "<benchmarks>/extract/{cohort}/crop-{crop}/batch-{batch}.tsv"
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, each=2000),
        runtime=runtime(120),
    params:
        settings=crop_settings,
        code=code("crop"),
    shell:
        "python -m hccflow crop --crop {wildcards.crop} --folder-in {input.folder:q} --manifest-in {input.manifest:q}"
        " --masks-in {input.masks:q} --settings {params.settings:q} --folder {output.folder:q}"
        " --manifest {output.manifest:q} --jobs {threads} 2>&1 | tee {log:q}"


rule crop_gather:
    input:
        manifests=batches("<results>/extract/{cohort}/crop-{crop}/batch-{batch}.tsv"),
    output:
        manifest="<results>/extract/{cohort}/crop-{crop}/manifest.tsv",
    log:
        "<logs>/extract/{cohort}/crop-{crop}/gather.log",
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    localrule: True
    conda:
        "../../envs/models.yaml"
    params:
        code=code("gather"),
    shell:
        "python -m hccflow gather --manifests {input.manifests:q} --out {output.manifest:q} 2>&1 | tee {log:q}"
