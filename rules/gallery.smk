rule build_gallery:
    input:
        **gallery_inputs(),
    output:
        done=stamp("build_gallery"),
    log:
        log_of("build_gallery"),
    benchmark:
        log_of("build_gallery", "tsv")
    localrule: runs_here("build_gallery")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("build_gallery")
    resources:
        **resources_of("build_gallery"),
    params:
        spec=PLAN.data["specs"]["gallery"],
        # The job reads them from the plan: a command of thousands of runs would be too long.
        runs=PLAN.directories(*LEVELS),
    shell:
        "python -m saev.dashboard gallery --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --done {output.done:q} --out $(dirname {output.done:q})"
