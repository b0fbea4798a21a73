# Development cohorts only -> a frozen model and its out-of-fold predictions.
rule train:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
        features=development_features,
        outlines=development_outlines,
    output:
        freeze="<results>/train/{model}/freeze.json",
        model=directory("<results>/train/{model}/model"),
        predictions="<results>/train/{model}/predictions.tsv",
        fits="<results>/train/{model}/fits.tsv",
        selection="<results>/train/{model}/selection.tsv",
        manifest="<results>/train/{model}/manifest.tsv",
    log:
        "<logs>/train/{model}.log",
    benchmark:
        "<benchmarks>/train/{model}.tsv"
    wildcard_constraints:
        model=choose(TABULAR),
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(120),
    params:
        settings=model_settings,
        variants=VARIANTS_LEDGER,
        code=code("train"),
        folder=subpath(output.freeze, parent=True),
    shell:
        "python -m hccflow train --model {wildcards.model} --subjects {input.subjects:q} --split {input.split:q}"
        " --features {input.features:q} --outlines {input.outlines:q} --settings {params.settings:q} --variants {params.variants:q} --out {params.folder:q} 2>&1 | tee {log:q}"


# Odds ratios of a clinical logistic model: they describe the training rows and are no part of the model. Two seconds each.
rule odds_ratios:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
    output:
        table="<results>/train/{model}/odds_ratios.tsv",
    log:
        "<logs>/train/{model}/odds_ratios.log",
    benchmark:
        "<benchmarks>/train/{model}/odds_ratios.tsv"
    wildcard_constraints:
        model=choose(STUDY.clinical_logistic),
    localrule: True
    conda:
        "../../envs/models.yaml"
    params:
        settings=model_settings,
        code=code("odds_ratios"),
    shell:
        "python -m hccflow odds_ratios --model {wildcards.model} --subjects {input.subjects:q} --split {input.split:q}"
        " --settings {params.settings:q} --out {output.table:q} 2>&1 | tee {log:q}"


# A network: one job a fold, then the final fit and the freeze. Checkpoints lie in the work folder, so a killed job goes on.
rule train_fold:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
        crops=development_crops,
    output:
        model=directory("<results>/train/{model}/fold-{place}/model"),
        predictions="<results>/train/{model}/fold-{place}/predictions.tsv",
        fits="<results>/train/{model}/fold-{place}/fits.tsv",
        history="<results>/train/{model}/fold-{place}/history.tsv",
        dice="<results>/train/{model}/fold-{place}/dice.tsv",
        about="<results>/train/{model}/fold-{place}/fold.json",
    log:
        "<logs>/train/{model}/fold-{place}.log",
    benchmark:
        "<benchmarks>/train/{model}/fold-{place}.tsv"
    wildcard_constraints:
        model=choose(NETWORKS),
        place=choose(PLACES),
    conda:
        "../../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000, more=development_crops_in_memory),
        runtime=runtime(1440),
        gpu=network_gpus,
    params:
        settings=model_settings,
        code=code("train_fold"),
        crops=folder_of("crops"),
        folder=subpath(output.about, parent=True),
        work=f".hccflow/work/{STUDY.name}/train",
    shell:
        "python -m hccflow train_fold --model {wildcards.model} --place {wildcards.place} --subjects {input.subjects:q}"
        " --split {input.split:q} --crops {params.crops:q} --settings {params.settings:q} --out {params.folder:q}"
        " --work {params.work:q} --threads {threads} 2>&1 | tee {log:q}"


rule train_network:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
        crops=development_crops,
        folds=expand("<results>/train/{model}/fold-{place}/fold.json", place=PLACES, allow_missing=True),
    output:
        freeze="<results>/train/{model}/freeze.json",
        model=directory("<results>/train/{model}/model"),
        predictions="<results>/train/{model}/predictions.tsv",
        fits="<results>/train/{model}/fits.tsv",
        selection="<results>/train/{model}/selection.tsv",
        manifest="<results>/train/{model}/manifest.tsv",
        history="<results>/train/{model}/history.tsv",
        dice="<results>/train/{model}/dice.tsv",
    log:
        "<logs>/train/{model}.log",
    benchmark:
        "<benchmarks>/train/{model}.tsv"
    wildcard_constraints:
        model=choose(NETWORKS),
    conda:
        "../../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000, more=development_crops_in_memory),
        runtime=runtime(1440),
        gpu=network_gpus,
    params:
        settings=model_settings,
        variants=VARIANTS_LEDGER,
        code=code("train_network"),
        crops=folder_of("crops"),
        folds=folder_of("folds"),
        folder=subpath(output.freeze, parent=True),
        work=f".hccflow/work/{STUDY.name}/train",
    shell:
        "python -m hccflow train_network --model {wildcards.model} --subjects {input.subjects:q} --split {input.split:q}"
        " --crops {params.crops:q} --folds {params.folds:q} --settings {params.settings:q} --variants {params.variants:q} --out {params.folder:q}"
        " --work {params.work:q} --threads {threads} 2>&1 | tee {log:q}"


rule fuse:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
        inputs=inputs_of("<results>/train/{input}/freeze.json"),
    output:
        freeze="<results>/train/{model}/freeze.json",
        model=directory("<results>/train/{model}/model"),
        predictions="<results>/train/{model}/predictions.tsv",
        fits="<results>/train/{model}/fits.tsv",
        selection="<results>/train/{model}/selection.tsv",
        manifest="<results>/train/{model}/manifest.tsv",
    log:
        "<logs>/train/{model}.log",
    benchmark:
        "<benchmarks>/train/{model}.tsv"
    wildcard_constraints:
        model=choose(FUSIONS),
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        settings=model_settings,
        variants=VARIANTS_LEDGER,
        code=code("fuse"),
        inputs=folder_of("inputs"),
        folder=subpath(output.freeze, parent=True),
    shell:
        "python -m hccflow fuse --model {wildcards.model} --subjects {input.subjects:q} --split {input.split:q}"
        " --inputs {params.inputs:q} --settings {params.settings:q} --variants {params.variants:q} --out {params.folder:q} 2>&1 | tee {log:q}"


# The best model of a sweep, chosen inside the development folds.
rule choose:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
        candidates=candidates_of,
    output:
        freeze="<results>/train/{model}/freeze.json",
        model=directory("<results>/train/{model}/model"),
        predictions="<results>/train/{model}/predictions.tsv",
        fits="<results>/train/{model}/fits.tsv",
        selection="<results>/train/{model}/selection.tsv",
        manifest="<results>/train/{model}/manifest.tsv",
    log:
        "<logs>/train/{model}.log",
    benchmark:
        "<benchmarks>/train/{model}.tsv"
    wildcard_constraints:
        model=choose(CHOICES),
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        settings=model_settings,
        code=code("choose"),
        candidates=folder_of("candidates"),
        folder=subpath(output.freeze, parent=True),
    shell:
        "python -m hccflow choose --model {wildcards.model} --subjects {input.subjects:q} --split {input.split:q}"
        " --inputs {params.candidates:q} --settings {params.settings:q} --out {params.folder:q} 2>&1 | tee {log:q}"
