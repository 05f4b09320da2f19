rule images:
    input:
        lambda wildcards: through("images"),
    localrule: True


# The workflow made the listing when it was parsed, so that a new image doesn't disturb a run.
rule list_images:
    input:
        unpack(inputs("list_images")),
    output:
        done=stamp("list_images"),
    log:
        log_of("list_images"),
    benchmark:
        log_of("list_images", "tsv")
    localrule: runs_here("list_images")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("list_images")
    resources:
        **resources_of("list_images"),
    params:
        spec=spec("list_images"),
    shell:
        "python -m saev.images --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--listing results/.plans/{wildcards.images}.parquet --out $(dirname {output.done:q})"
