# Ends with an error if a run doesn't follow its reference; the verdicts stay, and so it can be asked again.
rule compare:
    input:
        [
            f"results/{run['images']}/{run['vit']}/{run['sae']}/references/{run['reference']}/verdict.json"
            for run in PLAN.runs
            if run.get("reference")
        ],
    log:
        "logs/compare.log",
    conda:
        "../envs/saev.yaml"
    shell:
        "python -m saev.compare verdict {input:q} 2>&1 | tee {log:q} >&2; exit ${{PIPESTATUS[0]}}"


rule compare_curves:
    input:
        curve="results/{images}/{vit}/{sae}/train.jsonl",
        sae="results/{images}/{vit}/{sae}/meta.json",
    output:
        verdict="results/{images}/{vit}/{sae}/references/{reference}/verdict.json",
        figure="results/{images}/{vit}/{sae}/references/{reference}/comparison.png",
    log:
        "logs/{images}/{vit}/{sae}/references/{reference}.log",
    benchmark:
        "logs/{images}/{vit}/{sae}/references/{reference}.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        spec=spec("reference"),
    shell:
        "python -m saev.compare curves --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--curve {input.curve:q} --out $(dirname {output.verdict:q})"
