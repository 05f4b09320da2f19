rule train:
    input:
        through("train"),


# Its resumable state lies undeclared under .state/: Snakemake deletes declared outputs first.
rule train_sae:
    input:
        "results/{images}/{vit}/meta.json",
    output:
        checkpoint="results/{images}/{vit}/{sae}/checkpoint.safetensors",
        log="results/{images}/{vit}/{sae}/train.jsonl",
        curves="results/{images}/{vit}/{sae}/curves.png",
        run="results/{images}/{vit}/{sae}/run.json",
        meta="results/{images}/{vit}/{sae}/meta.json",
    log:
        "logs/{images}/{vit}/{sae}/train_sae.log",
    benchmark:
        "logs/{images}/{vit}/{sae}/train_sae.tsv"
    conda:
        "../envs/saev.yaml"
    threads: job_threads
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt * processes(wildcards),
        runtime=lambda wildcards, attempt: 720 * attempt,
        gpu=lambda wildcards: n_gpus(wildcards) * processes(wildcards),
    params:
        spec=spec("sae"),
    shell:
        "python -m saev.train --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--activations results/{wildcards.images}/{wildcards.vit} "
        "--out results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}"
