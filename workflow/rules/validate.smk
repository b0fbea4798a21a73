# Frozen models on every cohort; each look at an external cohort goes to the ledger. freeze.json holds the digests of the
# model's files: a model that was trained again to the same bytes is judged no second time.
rule predict:
    input:
        freeze="<results>/train/{model}/freeze.json",
        model=ancient("<results>/train/{model}/model"),
        predictions="<results>/train/{model}/predictions.tsv",
        subjects="<results>/enrol/{cohort}/subjects.tsv",
        features=cohort_features,
        crops=cohort_crops,
        inputs=inputs_of("<results>/train/{input}/freeze.json"),
        scores=inputs_of("<results>/validate/{cohort}/{input}.predictions.tsv"),
        split="<results>/enrol/split.tsv",
    output:
        predictions="<results>/validate/{cohort}/{model}.predictions.tsv",
        looks="<results>/validate/{cohort}/{model}.predictions.looks.tsv",
        contributions="<results>/validate/{cohort}/{model}.contributions.tsv",
    log:
        "<logs>/validate/{cohort}/{model}.log",
    benchmark:
        "<benchmarks>/validate/{cohort}/{model}.tsv"
    conda:
        environment_of_model
    resources:
        mem_mb=memory(2000, more=cohort_crops_in_memory),
        runtime=runtime(30),
    params:
        settings=model_settings,
        code=code("predict"),
        role=role_of,
        shared=shared_with,
        folder=subpath(input.freeze, parent=True),
        crops=folder_of("crops"),
        inputs=folder_of("inputs"),
        ledger=f"ledger/{STUDY.name}.tsv",
    shell:
        "python -m hccflow predict --train {params.folder:q} --cohort {wildcards.cohort} --role {params.role}"
        " --subjects {input.subjects:q} --features {input.features:q} --crops {params.crops:q} --inputs {params.inputs:q}"
        " --scores {input.scores:q} --split {input.split:q} --shared-with {params.shared}"
        " --ledger {params.ledger:q} --settings {params.settings:q} --contributions {output.contributions:q}"
        " --out {output.predictions:q} 2>&1 | tee {log:q}"


rule explain:
    input:
        freeze="<results>/train/{model}/freeze.json",
        folds=networks_of_folds,
        crops=cohort_crops,
        subjects="<results>/enrol/{cohort}/subjects.tsv",
        predictions="<results>/validate/{cohort}/{model}.predictions.tsv",
    output:
        folder=directory("<results>/validate/{cohort}/{model}.cam"),
        features="<results>/validate/{cohort}/{model}.features.tsv",
        dice="<results>/validate/{cohort}/{model}.dice.tsv",
    log:
        "<logs>/validate/{cohort}/{model}.cam.log",
    benchmark:
        "<benchmarks>/validate/{cohort}/{model}.cam.tsv"
    wildcard_constraints:
        model=choose(STUDY.explained),
    conda:
        "../../envs/segment.yaml"
    resources:
        mem_mb=memory(3000, more=cohort_crops_in_memory),
        runtime=runtime(60),
    params:
        settings=model_settings,
        code=code("explain"),
        crops=folder_of("crops"),
        train=subpath(input.freeze, parent=True),
    shell:
        "python -m hccflow explain --train {params.train:q} --crops {params.crops:q} --subjects {input.subjects:q}"
        " --predictions {input.predictions:q} --settings {params.settings:q} --out {output.folder:q}"
        " --features {output.features:q} --dice {output.dice:q} 2>&1 | tee {log:q}"


rule validate:
    input:
        predictions=scores_of_cohort,
        subjects="<results>/enrol/{cohort}/subjects.tsv",
        development=expand("<results>/enrol/{development}/subjects.tsv", development=DEVELOPMENT),
    output:
        metrics="<results>/validate/{cohort}/metrics.tsv",
        supplement="<results>/validate/{cohort}/supplement.tsv",
        primary="<results>/validate/{cohort}/primary.tsv",
        curves=directory("<results>/validate/{cohort}/curves"),
        figures=directory("<results>/validate/{cohort}/figures"),
    log:
        "<logs>/validate/{cohort}/validate.log",
    benchmark:
        "<benchmarks>/validate/{cohort}/validate.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        settings=settings("columns", "endpoints", "models", "primary", "validate"),
        code=code("validate"),
        ledger=f"ledger/{STUDY.name}.primary.tsv",
        folder=subpath(output.metrics, parent=True),
    shell:
        "python -m hccflow validate --predictions {input.predictions:q}"
        " --subjects {input.subjects:q} {input.development:q} --ledger {params.ledger:q}"
        " --settings {params.settings:q} --out {params.folder:q} 2>&1 | tee {log:q}"


# Over the external cohorts of a study that has several: means and heterogeneity.
rule pool:
    input:
        predictions=expand(
            "<results>/validate/{cohort}/{model}.predictions.tsv",
            cohort=EXTERNAL,
            model=MODELS,
        ),
    output:
        metrics="<results>/validate/pooled.tsv",
        figures=multiext("<results>/validate/pooled", ".svg", ".png"),
    log:
        "<logs>/validate/pooled.log",
    benchmark:
        "<benchmarks>/validate/pooled.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=runtime(15),
    params:
        settings=settings("endpoints", "models", "primary", "validate"),
        code=code("pool"),
    shell:
        "python -m hccflow pool --predictions {input.predictions:q} --settings {params.settings:q}"
        " --out {output.metrics:q} 2>&1 | tee {log:q}"


# Variants against their bases, on the development cohorts alone; every variant ever tried is counted.
rule experiment:
    input:
        freeze=expand("<results>/train/{model}/freeze.json", model=COMPARED),
        predictions=expand("<results>/train/{model}/predictions.tsv", model=COMPARED),
    output:
        metrics="<results>/validate/experiment.tsv",
        variants="<results>/validate/experiment.variants.tsv",
    log:
        "<logs>/validate/experiment.log",
    benchmark:
        "<benchmarks>/validate/experiment.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=runtime(15),
    params:
        settings=experiment_settings(),
        code=code("experiment"),
        train=folder_of("freeze"),
        variants=VARIANTS_LEDGER,
    shell:
        "python -m hccflow experiment --train {params.train:q} --variants {params.variants:q}"
        " --settings {params.settings:q} --out {output.metrics:q} 2>&1 | tee {log:q}"
