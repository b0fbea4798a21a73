# nnU-Net masks: one data set from the development training cases, one job per fold, a frozen ensemble, one prediction
# job per batch. A training subject is segmented by the fold that has not seen it. Nothing runs without config.segment.
rule segment_export:
    input:
        folders=ancient(converted_batches(DEVELOPMENT)),
        manifests=converted_batches(DEVELOPMENT, ".tsv"),
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
    output:
        dataset=temp(directory("<work>/segment/dataset")),
        cases="<results>/segment/model/cases.tsv",
        plans="<results>/segment/model/plans.json",
        dataset_json="<results>/segment/model/dataset.json",
        fingerprint="<results>/segment/model/dataset_fingerprint.json",
        splits="<results>/segment/model/splits_final.json",
        model="<results>/segment/model/model.json",
    log:
        "<logs>/segment/export.log",
    benchmark:
        "<benchmarks>/segment/export.tsv"
    conda:
        "../../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000, each=2000),
        runtime=runtime(240),
    params:
        settings=segment_settings("labels", "channels", "trainer", "planner", "configuration"),
        code=code("segment_export"),
        folder=subpath(output.cases, parent=True),
    shell:
        "python -m hccflow segment_export --folders {input.folders:q} --manifests {input.manifests:q}"
        " --subjects {input.subjects:q} --split {input.split:q} --settings {params.settings:q}"
        " --work {output.dataset:q} --out {params.folder:q} --jobs {threads} 2>&1 | tee {log:q}"


rule segment_train:
    input:
        dataset="<work>/segment/dataset",
        cases="<results>/segment/model/cases.tsv",
        plans="<results>/segment/model/plans.json",
        splits="<results>/segment/model/splits_final.json",
    output:
        weights="<results>/segment/model/fold-{fold}/weights.safetensors",
        losses="<results>/segment/model/fold-{fold}/log.tsv",
        about="<results>/segment/model/fold-{fold}/fold.json",
    log:
        "<logs>/segment/fold-{fold}.log",
    benchmark:
        "<benchmarks>/segment/fold-{fold}.tsv"
    wildcard_constraints:
        fold="[0-9]+",
    conda:
        "../../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=runtime(1440),
        gpu=gpus(),
    params:
        settings=segment_settings("labels", "trainer", "configuration", "iterations", "device"),
        code=code("segment_train"),
        folder=subpath(output.weights, parent=True),
        work=f".hccflow/work/{STUDY.name}/segment/checkpoints",
    shell:
        "python -m hccflow segment_train --dataset {input.dataset:q} --fold {wildcards.fold}"
        " --settings {params.settings:q} --out {params.folder:q} --work {params.work:q} --threads {threads}"
        " 2>&1 | tee {log:q}"


rule segment_freeze:
    input:
        folds=expand(
            "<results>/segment/model/fold-{fold}/{file}",
            fold=range(STUDY.config["split"]["folds"]),
            file=["weights.safetensors", "fold.json"],
        ),
        model="<results>/segment/model/model.json",
        split="<results>/enrol/split.tsv",
    output:
        freeze="<results>/segment/freeze.json",
    log:
        "<logs>/segment/freeze.log",
    localrule: True
    conda:
        "../../envs/segment.yaml"
    params:
        settings=segment_settings(
            "labels",
            "channels",
            "trainer",
            "planner",
            "configuration",
            "iterations",
            "device",
        ),
        code=code("segment_freeze"),
        folder=subpath(output.freeze, parent=True),
    shell:
        "python -m hccflow segment_freeze --folder {params.folder:q} --split {input.split:q}"
        " --settings {params.settings:q} 2>&1 | tee {log:q}"


rule segment_predict:
    input:
        folder=ancient("<results>/convert/{cohort}/batch-{batch}"),
        manifest="<results>/convert/{cohort}/batch-{batch}.tsv",
        freeze=frozen_networks,
        split="<results>/enrol/split.tsv",
    output:
        folder=directory("<results>/segment/{cohort}/batch-{batch}"),
        manifest="<results>/segment/{cohort}/batch-{batch}.tsv",
    log:
        "<logs>/segment/{cohort}/batch-{batch}.log",
    benchmark:
        "<benchmarks>/segment/{cohort}/batch-{batch}.tsv"
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    conda:
        "../../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(240),
        gpu=gpus(),
    params:
        settings=segment_settings("labels", "channels", "device", "imported", "surface_tolerance_mm"),
        code=code("segment_predict"),
        shared=shared_with,
        frozen=subpath(output.folder, ancestor=2),
    shell:
        "python -m hccflow segment_predict --cohort {wildcards.cohort} --folder-in {input.folder:q}"
        " --manifest-in {input.manifest:q} --frozen {params.frozen:q} --split {input.split:q}"
        " --shared-with {params.shared} --settings {params.settings:q} --folder {output.folder:q}"
        " --manifest {output.manifest:q} --threads {threads} 2>&1 | tee {log:q}"


rule segment_gather:
    input:
        manifests=batches("<results>/segment/{cohort}/batch-{batch}.tsv"),
    output:
        manifest="<results>/segment/{cohort}/manifest.tsv",
    log:
        "<logs>/segment/{cohort}/gather.log",
    wildcard_constraints:
        cohort=choose(IMAGE_COHORTS),
    localrule: True
    conda:
        "../../envs/segment.yaml"
    params:
        code=code("gather"),
    shell:
        "python -m hccflow gather --manifests {input.manifests:q} --out {output.manifest:q} 2>&1 | tee {log:q}"


rule segment:
    input:
        manifests=expand("<results>/segment/{cohort}/manifest.tsv", cohort=IMAGE_COHORTS),
    output:
        dice="<results>/segment/dice.tsv",
    log:
        "<logs>/segment/dice.log",
    localrule: True
    conda:
        "../../envs/segment.yaml"
    params:
        settings=segment_settings("labels", "require_dice"),
        code=code("segment"),
    shell:
        "python -m hccflow segment --manifests {input.manifests:q} --settings {params.settings:q}"
        " --out {output.dice:q} 2>&1 | tee {log:q}"
