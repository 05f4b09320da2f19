rule analyze:
    input:
        lambda wildcards: through("analyze"),
    localrule: True


# A part is a fixed range of the listing, so that sums don't depend on how jobs run.
rule analyze_shards:
    input:
        unpack(inputs("analyze_shards")),
    output:
        done=stamp("analyze_shards"),
    log:
        log_of("analyze_shards"),
    benchmark:
        log_of("analyze_shards", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("analyze_shards")
    resources:
        **resources_of("analyze_shards"),
    params:
        spec=spec("analyze_shards"),
    shell:
        "python -m saev.analyze part --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
        "$(for done in {input.labels:q}; do echo --labels $(dirname $done); done) "
        "--part {wildcards.number} "
        "--out results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}/{wildcards.analysis}"


rule merge_analysis:
    input:
        unpack(inputs("merge_analysis")),
    output:
        done=stamp("merge_analysis"),
    log:
        log_of("merge_analysis"),
    benchmark:
        log_of("merge_analysis", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("merge_analysis")
    resources:
        **resources_of("merge_analysis"),
    params:
        spec=spec("merge_analysis"),
    shell:
        "python -m saev.analyze merge --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
        "$(for done in {input.labels:q}; do echo --labels $(dirname $done); done) "
        "--n-parts $(echo {input.parts:q} | wc -w) "
        "--out $(dirname {output.done:q})"
