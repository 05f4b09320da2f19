rule dashboard:
    input:
        through("dashboard"),


rule build_dashboard:
    input:
        analysis="results/{images}/{vit}/{sae}/{analysis}/meta.json",
        latents="results/{images}/{vit}/{sae}/{analysis}/latents.safetensors",
        activations=looked_at_activations,
        images=looked_at_images,
    output:
        page="results/{images}/{vit}/{sae}/{analysis}/dashboard/index.html",
        summary="results/{images}/{vit}/{sae}/{analysis}/dashboard/summary.json",
    log:
        "logs/{images}/{vit}/{sae}/{analysis}/build_dashboard.log",
    benchmark:
        "logs/{images}/{vit}/{sae}/{analysis}/build_dashboard.tsv"
    conda:
        "../envs/saev.yaml"
    threads: job_threads
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        spec=dashboard_spec,
    shell:
        "python -m saev.dashboard run --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--analysis $(dirname {input.analysis:q}) --activations $(dirname {input.activations:q}) "
        "--sae results/{wildcards.images}/{wildcards.vit}/{wildcards.sae} "
        "--images $(dirname {input.images:q}) --out $(dirname {output.summary:q})"


rule build_gallery:
    input:
        analyses=expand(
            "{directory}/{file}",
            directory=PLAN.directories("images", "vit", "sae", "analysis"),
            file=["meta.json", "dashboard/summary.json"],
        ),
        training=expand(
            "{directory}/{file}",
            directory=PLAN.directories("images", "vit", "sae"),
            file=["meta.json", "train.jsonl"],
        ),
    output:
        "results/index.html",
    log:
        "logs/build_gallery.log",
    benchmark:
        "logs/build_gallery.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        spec=PLAN.data["specs"]["gallery"],
        runs=PLAN.directories("images", "vit", "sae", "analysis"),
    shell:
        "python -m saev.dashboard gallery --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --runs {params.runs:q} --out results"
