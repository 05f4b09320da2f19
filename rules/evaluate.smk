rule evaluate:
    input:
        lambda wildcards: through("evaluate"),
    localrule: True


rule evaluate_dictionary:
    input:
        unpack(inputs("evaluate_dictionary")),
    output:
        done=stamp("evaluate_dictionary"),
    log:
        log_of("evaluate_dictionary"),
    benchmark:
        log_of("evaluate_dictionary", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("evaluate_dictionary")
    resources:
        **resources_of("evaluate_dictionary"),
    params:
        spec=spec("evaluate_dictionary"),
    shell:
        "python -m saev.evaluate --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--analysis $(dirname {input.analysis:q}) --sae $(dirname {input.checkpoint:q}) "
        "--activations $(dirname {input.activations:q}) "
        "$(for done in {input.labels:q}; do echo --labels $(dirname $done); done) "
        "$(for done in {input.seeds:q}; do echo --seed $(dirname $done); done) "
        "--out $(dirname {output.done:q})"
