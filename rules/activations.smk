rule activations:
    input:
        through("activations"),


# A shard is a fixed range of the listing: one job, one file a stream, and the unit of resuming.
rule record_shard:
    input:
        when_made("vit"),
        images="results/{images}/meta.json",
    output:
        "results/{images}/{vit}/shards/{number}.json",
    log:
        "logs/{images}/{vit}/record_shard-{number}.log",
    benchmark:
        "logs/{images}/{vit}/record_shard-{number}.tsv"
    conda:
        "../envs/saev.yaml"
    threads: job_threads
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=n_gpus,
    params:
        spec=spec("vit"),
    shell:
        "python -m saev.activations record --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --images results/{wildcards.images} --shard {wildcards.number} "
        "--out results/{wildcards.images}/{wildcards.vit}"


rule seal_activations:
    input:
        shards=shards,
        images="results/{images}/meta.json",
    output:
        records="results/{images}/{vit}/images.parquet",
        stats="results/{images}/{vit}/stats.safetensors",
        run="results/{images}/{vit}/run.json",
        meta="results/{images}/{vit}/meta.json",
    log:
        "logs/{images}/{vit}/seal_activations.log",
    benchmark:
        "logs/{images}/{vit}/seal_activations.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        spec=spec("vit"),
    shell:
        "python -m saev.activations seal --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --images results/{wildcards.images} "
        "--out results/{wildcards.images}/{wildcards.vit}"
