# Do unseen scores stratify survival? Cuts come from the frozen models.
rule survive:
    input:
        predictions=expand(
            "<results>/validate/{cohort}/{model}.predictions.tsv",
            model=STUDY.config["survive"]["models"],
            allow_missing=True,
        ),
        subjects="<results>/enrol/{cohort}/subjects.tsv",
        development=expand("<results>/enrol/{development}/subjects.tsv", development=DEVELOPMENT if COVARIATES else []),
        split=["<results>/enrol/split.tsv"] if COVARIATES else [],
        freeze=expand(
            "<results>/train/{model}/freeze.json",
            model=STUDY.config["survive"]["models"],
        ),
    output:
        metrics="<results>/survive/{cohort}/metrics.tsv",
        curves=directory("<results>/survive/{cohort}/curves"),
        figures=directory("<results>/survive/{cohort}/figures"),
    log:
        "<logs>/survive/{cohort}.log",
    benchmark:
        "<benchmarks>/survive/{cohort}.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(30),
    params:
        settings=settings("columns", "endpoints", "models", "survive", cohorts=STUDY.titles),
        code=code("survive"),
        folder=subpath(output.metrics, parent=True),
    shell:
        "python -m hccflow survive --predictions {input.predictions:q} --subjects {input.subjects:q}"
        " --freeze {input.freeze:q} --development {input.development:q} --split {input.split:q}"
        " --settings {params.settings:q} --out {params.folder:q} 2>&1 | tee {log:q}"
