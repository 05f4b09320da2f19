rule dashboard:
    input:
        lambda wildcards: through("dashboard"),
    localrule: True


rule build_dashboard:
    input:
        unpack(inputs("build_dashboard")),
    output:
        done=stamp("build_dashboard"),
    log:
        log_of("build_dashboard"),
    benchmark:
        log_of("build_dashboard", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("build_dashboard")
    resources:
        **resources_of("build_dashboard"),
    params:
        spec=dashboard_spec,
    shell:
        "python -m saev.dashboard run --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--analysis $(dirname {input.analysis:q}) --activations $(dirname {input.activations:q}) "
        "--sae results/{wildcards.images}/{wildcards.vit}/{wildcards.sae} "
        "--images $(dirname {input.images:q}) "
        "$(for done in {input.evaluations:q}; do echo --evaluation $(dirname $done); done) "
        "--out $(dirname {output.done:q})"
