# Who is in, what happened to them, who may teach and who may only judge. Each cohort by itself: what an external cohort
# holds can reach validation, never training.
rule enrol:
    input:
        participants=participants_of,
        lesions=table_of("lesions.tsv"),
        manifest=converted,
    output:
        subjects="<results>/enrol/{cohort}/subjects.tsv",
        manifest="<results>/enrol/{cohort}/manifest.tsv",
        flow="<results>/enrol/{cohort}/flow.tsv",
        agreement="<results>/enrol/{cohort}/agreement.tsv",
    log:
        "<logs>/enrol/{cohort}.log",
    benchmark:
        "<benchmarks>/enrol/{cohort}.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=runtime(15),
    params:
        settings=settings("columns", "endpoints", "eligibility", "null_seed"),
        code=code("enrol"),
        role=role_of,
        folder=subpath(output.subjects, parent=True),
    shell:
        "python -m hccflow enrol --cohort {wildcards.cohort} --role {params.role} --participants {input.participants:q}"
        " --lesions {input.lesions:q} --manifest {input.manifest:q} --settings {params.settings:q} --out {params.folder:q} 2>&1 | tee {log:q}"


rule split:
    input:
        subjects=expand("<results>/enrol/{cohort}/subjects.tsv", cohort=DEVELOPMENT),
    output:
        split="<results>/enrol/split.tsv",
    log:
        "<logs>/enrol/split.log",
    benchmark:
        "<benchmarks>/enrol/split.tsv"
    localrule: True
    conda:
        "../../envs/models.yaml"
    params:
        settings=settings("endpoints", "columns", "split"),
        code=code("split"),
    shell:
        "python -m hccflow split --subjects {input.subjects:q} --settings {params.settings:q} --out {output.split:q}"
        " 2>&1 | tee {log:q}"
