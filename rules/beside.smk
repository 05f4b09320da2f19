# What lies beside the pages: names that people gave, their scores, projections of directions, matches of runs, and what
# `snakemake --report report.html` shows. The latter are copies of parts of results, so nothing is
# lost when Snakemake deletes them.
from saev.core.once import stamp_name
from saev.dashboard.artifact import PROJECTED, REPORT, REPORT_RUN, REPORT_SWEEPS
from saev.train.artifact import PLOT

PAGES = BY_NAME["dashboard"].folder
SCORED = f"{PAGES}/{stamp_name('score_names')}"


rule score_names:
    input:
        unpack(inputs("build_dashboard")),
        page=stamp("build_dashboard"),
    output:
        done=SCORED,
    log:
        f"logs{PAGES.removeprefix('results')}/score_names.log",
    benchmark:
        f"logs{PAGES.removeprefix('results')}/score_names.tsv"
    conda:
        "../envs/saev.yaml"
    threads: threads_of("build_dashboard")
    resources:
        **resources_of("build_dashboard"),
    params:
        spec=names_spec,
    shell:
        "python -m saev.evaluate.score_names --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--done {output.done:q} --analysis $(dirname {input.analysis:q}) "
        "--sae results/{wildcards.images}/{wildcards.vit}/{wildcards.sae} "
        "--activations $(dirname {input.activations:q}) --out $(dirname {output.done:q})"


rule finish_page:
    input:
        stamp("build_dashboard"),
        lambda wildcards: [SCORED.format(**wildcards)] if names_spec(wildcards) else [],
    output:
        page=report(
            f"{PAGES}/{REPORT_RUN}",
            caption="report/run.rst",
            category="Runs",
            subcategory="{images}, {vit}",
            labels={
                "dictionary": "{sae}",
                "analysis": "{analysis}",
                "shows": "figures, latents",
            },
        ),
        curves=report(
            f"{PAGES}/{REPORT}/{PLOT}",
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
        f"logs{PAGES.removeprefix('results')}/finish_page.log",
    localrule: True
    conda:
        "../envs/saev.yaml"
    resources:
        **resources_of("build_gallery"),
    params:
        spec=lambda wildcards: PLAN.data["specs"]["beside"][wildcards.analysis],
    shell:
        "python -m saev.dashboard beside --spec {params.spec:q} --log {log:q} "
        "--analysis results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}/{wildcards.analysis}"


# It follows the page, so that the two never write at once.
rule project_directions:
    input:
        page=stamp("build_dashboard"),
    output:
        done=f"{PAGES}/{PROJECTED}",
    log:
        f"logs{PAGES.removeprefix('results')}/project_directions.log",
    benchmark:
        f"logs{PAGES.removeprefix('results')}/project_directions.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        spec=lambda wildcards: PLAN.data["specs"]["projections"][wildcards.analysis],
    shell:
        "python -m saev.dashboard.projection --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--analysis results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}/{wildcards.analysis} "
        "--sae results/{wildcards.images}/{wildcards.vit}/{wildcards.sae} "
        "--out $(dirname {output.done:q})"


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
    params:
        spec=PLAN.data["specs"]["matches"],
    shell:
        "python -m saev.dashboard.run_matches --spec {params.spec:q} --threads {threads} "
        "--log {log:q} --out results"


rule show_sweeps:
    input:
        stamp("build_gallery"),
    output:
        report(
            f"results/{REPORT_SWEEPS}",
            caption="report/sweeps.rst",
            category="Sweeps",
            labels={"shows": "sparsity against error"},
        ),
    log:
        "logs/show_sweeps.log",
    localrule: True
    conda:
        "../envs/saev.yaml"
    resources:
        **resources_of("build_gallery"),
    params:
        spec=PLAN.data["specs"]["sweeps"],
    shell:
        "python -m saev.dashboard sweeps --spec {params.spec:q} --log {log:q} "
        "--out results"
