rule build_gallery:
    input:
        unpack(inputs("build_gallery")),
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
        spec=spec("build_gallery"),
        # The job reads them from the plan: a command of thousands of runs would be too long.
        runs=PLAN.directories(*LEVELS),
    shell:
        "python -m saev.dashboard gallery --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --done {output.done:q} --out $(dirname {output.done:q})"


rule show_sweeps:
    input:
        unpack(inputs("show_sweeps")),
    output:
        done=stamp("show_sweeps"),
        shown=in_report(
            "show_sweeps",
            "shown",
            caption="report/sweeps.rst",
            category="Sweeps",
            labels={"shows": "sparsity against error"},
        ),
    log:
        log_of("show_sweeps"),
    benchmark:
        log_of("show_sweeps", "tsv")
    localrule: runs_here("show_sweeps")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("show_sweeps")
    resources:
        **resources_of("show_sweeps"),
    params:
        spec=spec("show_sweeps"),
    shell:
        "python -m saev.dashboard.show_sweeps --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--done {output.done:q} --out $(dirname {output.done:q})"


# On request, as pairs of runs are many. What is matched already is taken up.
rule match_runs:
    input:
        stamps("dashboard"),
    log:
        "logs/match_runs.log",
    benchmark:
        "logs/match_runs.tsv"
    conda:
        "../envs/saev.yaml"
    threads: threads_of("build_dashboard")
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 360 * attempt,
        gpu=lambda wildcards: requests.resources(PLAN, "build_dashboard", {}, 1)["gpu"],
    params:
        spec=PLAN.data["specs"]["matches"],
    shell:
        "python -m saev.dashboard.run_matches --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --out results"
