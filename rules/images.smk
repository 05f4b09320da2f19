rule images:
    input:
        through("images"),


# The listing was taken when the workflow was parsed, so that a run isn't disturbed by a new picture.
rule list_images:
    input:
        when_made("images"),
    output:
        manifest="results/{images}/manifest.parquet",
        run="results/{images}/run.json",
        meta="results/{images}/meta.json",
    log:
        "logs/{images}/list_images.log",
    benchmark:
        "logs/{images}/list_images.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        spec=spec("images"),
    shell:
        "python -m saev.images --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--listing results/.plans/{wildcards.images}.parquet --out results/{wildcards.images}"
