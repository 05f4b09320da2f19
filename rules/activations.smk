rule activations:
    input:
        lambda wildcards: through("activations"),
    localrule: True


# A shard is a fixed range of the listing: one job, which writes one file per stream.
rule record_shard:
    input:
        unpack(inputs("record_shard")),
    output:
        done=stamp("record_shard"),
    log:
        log_of("record_shard"),
    benchmark:
        log_of("record_shard", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("record_shard")
    resources:
        **resources_of("record_shard"),
    params:
        spec=spec("record_shard"),
    shell:
        "python -m saev.activations record --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --done {output.done:q} --images $(dirname {input.images:q}) --shard {wildcards.number} "
        "--out results/{wildcards.images}/{wildcards.vit}"


rule seal_activations:
    input:
        unpack(inputs("seal_activations")),
    output:
        done=stamp("seal_activations"),
    log:
        log_of("seal_activations"),
    benchmark:
        log_of("seal_activations", "tsv")
    localrule: runs_here("seal_activations")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("seal_activations")
    resources:
        **resources_of("seal_activations"),
    params:
        spec=spec("seal_activations"),
    shell:
        "python -m saev.activations seal --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--images $(dirname {input.images:q}) --out $(dirname {output.done:q})"
