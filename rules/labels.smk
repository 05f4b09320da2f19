rule labels:
    input:
        lambda wildcards: through("labels"),
    localrule: True


# Once for all analyses of the same images with the same labels.
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
        spec=spec("label_images"),
    shell:
        "python -m saev.labels --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--images $(dirname {input.images:q}) --out $(dirname {output.done:q})"
