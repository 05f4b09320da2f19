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
        spec=spec("build_dashboard"),
    shell:
        "python -m saev.dashboard run --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--analysis $(dirname {input.analysis:q}) --activations $(dirname {input.activations:q}) "
        "--sae results/{wildcards.images}/{wildcards.vit}/{wildcards.sae} "
        "--images $(dirname {input.images:q}) "
        "$(for done in {input.evaluations:q}; do echo --evaluation $(dirname $done); done) "
        "--out $(dirname {output.done:q})"


rule score_names:
    input:
        unpack(inputs("score_names")),
    output:
        done=stamp("score_names"),
    log:
        log_of("score_names"),
    benchmark:
        log_of("score_names", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("score_names")
    resources:
        **resources_of("score_names"),
    params:
        spec=spec("score_names"),
    shell:
        "python -m saev.evaluate.score_names --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--done {output.done:q} --analysis $(dirname {input.analysis:q}) "
        "--sae $(dirname {input.checkpoint:q}) --activations $(dirname {input.activations:q}) "
        "--out $(dirname {output.done:q})"


# It takes a second, however many images there are: never worth a place in a queue.
rule finish_page:
    input:
        unpack(inputs("finish_page")),
    output:
        done=stamp("finish_page"),
        shown=in_report(
            "finish_page",
            "shown",
            caption="report/run.rst",
            category="Runs",
            subcategory="{images}, {vit}",
            labels={
                "dictionary": "{sae}",
                "analysis": "{analysis}",
                "shows": "figures, latents",
            },
        ),
        curves=in_report(
            "finish_page",
            "curves",
            caption="report/curves.rst",
            category="Runs",
            subcategory="{images}, {vit}",
            labels={
                "dictionary": "{sae}",
                "analysis": "{analysis}",
                "shows": "training curves",
            },
        ),
    log:
        log_of("finish_page"),
    benchmark:
        log_of("finish_page", "tsv")
    localrule: runs_here("finish_page")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("finish_page")
    resources:
        **resources_of("finish_page"),
    params:
        spec=spec("finish_page"),
    shell:
        "python -m saev.dashboard.finish_page --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--done {output.done:q} --analysis $(dirname $(dirname {output.done:q})) "
        "--out $(dirname {output.done:q})"


rule project_directions:
    input:
        unpack(inputs("project_directions")),
    output:
        done=stamp("project_directions"),
    log:
        log_of("project_directions"),
    benchmark:
        log_of("project_directions", "tsv")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("project_directions")
    resources:
        **resources_of("project_directions"),
    params:
        spec=spec("project_directions"),
    shell:
        "python -m saev.dashboard.projection --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--done {output.done:q} --analysis $(dirname {input.analysis:q}) "
        "--sae $(dirname {input.checkpoint:q}) --out $(dirname {output.done:q})"
