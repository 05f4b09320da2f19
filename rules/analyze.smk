rule analyze:
    input:
        lambda wildcards: through("analyze"),
    localrule: True


rule label_images:
    input:
        unpack(inputs("label_images")),
    output:
        done=stamp("label_images"),
    log:
        log_of("label_images"),
    benchmark:
        log_of("label_images", "tsv")
    localrule: runs_here("label_images")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("label_images")
    resources:
        **resources_of("label_images"),
    params:
        spec=spec("analyze"),
    shell:
        "python -m saev.analyze labels --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--images $(dirname {input.images:q}) --activations $(dirname {input.activations:q}) "
        "--out $(dirname {output.done:q})"


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
        spec=spec("analyze"),
    shell:
        "python -m saev.analyze part --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
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
        spec=spec("analyze"),
    shell:
        "python -m saev.analyze merge --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
        "--n-parts $(echo {input.parts:q} | wc -w) "
        "--out $(dirname {output.done:q})"
