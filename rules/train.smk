rule train:
    input:
        lambda wildcards: through("train"),
    localrule: True


# Its resumable state under .state/ isn't declared, because Snakemake would delete it.
rule train_sae:
    input:
        unpack(inputs("train_sae")),
    output:
        done=stamp("train_sae"),
    log:
        log_of("train_sae"),
    benchmark:
        log_of("train_sae", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("train_sae")
    resources:
        **resources_of("train_sae"),
    params:
        spec=spec("train_sae"),
    shell:
        "python -m saev.train --spec {params.spec:q} --threads {threads} --mem-mb {resources.mem_mb} "
        "--log {log:q} --done {output.done:q} "
        "--activations $(dirname {input.activations:q}) --out $(dirname {output.done:q})"
