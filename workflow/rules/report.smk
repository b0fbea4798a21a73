# All tables -> one self-contained page.
rule report:
    input:
        manifests=expand("<results>/convert/{cohort}/manifest.tsv", cohort=IMAGE_COHORTS),
        pictures=ancient(converted_batches(IMAGE_COHORTS)),
        enrol=expand(
            "<results>/enrol/{cohort}/{table}.tsv",
            cohort=COHORTS,
            table=["subjects", "manifest", "flow", "agreement"],
        ),
        split="<results>/enrol/split.tsv",
        segment=expand("<results>/segment/{cohort}/manifest.tsv", cohort=SEGMENTED),
        frozen_segment=SEGMENT_FROZEN,
        overlays=ancient(converted_batches(SEGMENTED, stage="segment")),
        networks=expand(
            "<results>/train/{model}/{file}",
            model=[n for n in MODELS if n in NETWORKS],
            file=["history.tsv", "dice.tsv"],
        ),
        folds=expand(
            "<results>/train/{model}/fold-{place}/fold.json",
            model=[n for n in MODELS if n in NETWORKS],
            place=PLACES,
        ),
        maps=EXPLAINED,
        extract=expand(
            "<results>/extract/{cohort}/roi-{roi}/manifest.tsv",
            cohort=COHORTS,
            roi=ROIS,
        ),
        train=expand(
            "<results>/train/{model}/{file}",
            model=MODELS,
            file=["freeze.json", "fits.tsv", "selection.tsv"],
        ),
        candidates=selections_of_candidates(),
        odds=ODDS,
        predictions=expand(
            "<results>/validate/{cohort}/{model}.{table}.tsv",
            cohort=COHORTS,
            model=MODELS,
            table=["predictions", "contributions"],
        ),
        validate=expand(
            "<results>/validate/{cohort}/{table}.tsv",
            cohort=COHORTS,
            table=["metrics", "primary"],
        ),
        pooled=POOLED,
        experiment=EXPERIMENT,
        survive=SURVIVAL,
        relate=RELATED,
    output:
        page="<results>/report/report.html",
        metrics="<results>/report/metrics.json",
        tables=directory("<results>/report/tables"),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=runtime(15),
    params:
        settings=report_settings(),
        code=code("report"),
        template=folder_digest("report"),
        folder=subpath(output.page, ancestor=2),
    shell:
        "python -m hccflow report --results {params.folder:q} --settings {params.settings:q} --out {output.page:q}"
        " 2>&1 | tee {log:q}"
