rule analyze:
    input:
        through("analyze"),


rule label_images:
    input:
        images=looked_at_images,
        activations=looked_at_activations,
    output:
        "results/{images}/{vit}/{sae}/{analysis}/labels.parquet",
    log:
        "logs/{images}/{vit}/{sae}/{analysis}/label_images.log",
    benchmark:
        "logs/{images}/{vit}/{sae}/{analysis}/label_images.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        spec=spec("analysis"),
    shell:
        "python -m saev.analyze labels --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--images $(dirname {input.images:q}) --activations $(dirname {input.activations:q}) "
        "--out $(dirname {output:q})"


# A part is a fixed range of the listing, so that sums come out the same however jobs are run.
rule analyze_shards:
    input:
        checkpoint="results/{images}/{vit}/{sae}/checkpoint.safetensors",
        sae="results/{images}/{vit}/{sae}/meta.json",
        activations=looked_at_activations,
        labels="results/{images}/{vit}/{sae}/{analysis}/labels.parquet",
    output:
        "results/{images}/{vit}/{sae}/{analysis}/parts/{number}.json",
    log:
        "logs/{images}/{vit}/{sae}/{analysis}/analyze_shards-{number}.log",
    benchmark:
        "logs/{images}/{vit}/{sae}/{analysis}/analyze_shards-{number}.tsv"
    conda:
        "../envs/saev.yaml"
    threads: job_threads
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=n_gpus,
    params:
        spec=spec("analysis"),
    shell:
        "python -m saev.analyze part --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
        "--labels {input.labels:q} --part {wildcards.number} "
        "--out results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}/{wildcards.analysis}"


rule merge_analysis:
    input:
        parts=parts,
        checkpoint="results/{images}/{vit}/{sae}/checkpoint.safetensors",
        sae="results/{images}/{vit}/{sae}/meta.json",
        activations=looked_at_activations,
        labels="results/{images}/{vit}/{sae}/{analysis}/labels.parquet",
    output:
        latents="results/{images}/{vit}/{sae}/{analysis}/latents.safetensors",
        table="results/{images}/{vit}/{sae}/{analysis}/latents.parquet",
        run="results/{images}/{vit}/{sae}/{analysis}/run.json",
        meta="results/{images}/{vit}/{sae}/{analysis}/meta.json",
    log:
        "logs/{images}/{vit}/{sae}/{analysis}/merge_analysis.log",
    benchmark:
        "logs/{images}/{vit}/{sae}/{analysis}/merge_analysis.tsv"
    conda:
        "../envs/saev.yaml"
    threads: job_threads
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        spec=spec("analysis"),
    shell:
        "python -m saev.analyze merge --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
        "--labels {input.labels:q} --n-parts $(echo {input.parts:q} | wc -w) "
        "--out $(dirname {output.meta:q})"
