# Do imaging signatures mean something biologically? What is learnt, is learnt from development cohorts alone.
rule relate_fit:
    input:
        subjects=expand("<results>/enrol/{development}/subjects.tsv", development=DEVELOPMENT),
        split="<results>/enrol/split.tsv",
        predictions=expand(
            "<results>/validate/{development}/{signing}.predictions.tsv",
            development=DEVELOPMENT,
            signing=signature_sources("model"),
        ),
        features=signature_features(DEVELOPMENT),
        tables=laboratory_tables(DEVELOPMENT),
    output:
        frozen="<results>/relate/model/frozen.json",
        fits="<results>/relate/model/fits.tsv",
    log:
        "<logs>/relate/model.log",
    benchmark:
        "<benchmarks>/relate/model.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        settings=settings("columns", "relate"),
        code=code("relate_fit"),
        data=[str(STUDY.cohorts[name].folder) for name in DEVELOPMENT],
        folder=subpath(output.frozen, parent=True),
    shell:
        "python -m hccflow relate_fit --subjects {input.subjects:q} --split {input.split:q} --data {params.data:q}"
        " --predictions {input.predictions:q} --features {input.features:q} --settings {params.settings:q}"
        " --out {params.folder:q} 2>&1 | tee {log:q}"


rule relate:
    input:
        frozen="<results>/relate/model/frozen.json",
        subjects="<results>/enrol/{cohort}/subjects.tsv",
        split="<results>/enrol/split.tsv",
        predictions=expand(
            "<results>/validate/{cohort}/{signing}.predictions.tsv",
            signing=signature_sources("model"),
            allow_missing=True,
        ),
        features=of_cohort(signature_features),
        tables=of_cohort(laboratory_tables),
        sets=gene_sets(),
    output:
        metrics="<results>/relate/{cohort}/metrics.tsv",
        genes="<results>/relate/{cohort}/genes.tsv",
        enrichment="<results>/relate/{cohort}/enrichment.tsv",
        pairs="<results>/relate/{cohort}/pairs.tsv",
        matching="<results>/relate/{cohort}/matching.tsv",
        signatures="<results>/relate/{cohort}/signatures.tsv",
        figures=directory("<results>/relate/{cohort}/figures"),
    log:
        "<logs>/relate/{cohort}.log",
    benchmark:
        "<benchmarks>/relate/{cohort}.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=runtime(60),
    params:
        settings=settings("columns", "relate"),
        code=code("relate"),
        role=role_of,
        data=folder_of_cohort,
        fit=subpath(input.frozen, parent=True),
        folder=subpath(output.metrics, parent=True),
    shell:
        "python -m hccflow relate --cohort {wildcards.cohort} --role {params.role} --fit {params.fit:q}"
        " --subjects {input.subjects:q} --split {input.split:q} --data {params.data:q}"
        " --predictions {input.predictions:q} --features {input.features:q} --sets {input.sets:q}"
        " --settings {params.settings:q} --out {params.folder:q} 2>&1 | tee {log:q}"
