# What `snakemake --report report.html` shows. These files are copies of parts of results: nothing
# is lost when Snakemake deletes them.
PAGES = BY_NAME["dashboard"].folder


rule report_run:
    input:
        stamp("build_dashboard"),
    output:
        page=report(
            f"{PAGES}/report/run.html",
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
            f"{PAGES}/report/curves.png",
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
        f"logs{PAGES.removeprefix('results')}/report_run.log",
    localrule: True
    conda:
        "../envs/saev.yaml"
    params:
        spec=PLAN.data["specs"]["report"],
    shell:
        "python -m saev.dashboard report-run --spec {params.spec:q} --log {log:q} "
        "--analysis results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}/{wildcards.analysis} "
        "--out $(dirname {output.page:q})"


rule report_sweeps:
    input:
        stamp("build_gallery"),
    output:
        report(
            "results/report/sweeps.html",
            caption="report/sweeps.rst",
            category="Sweeps",
            labels={"shows": "sparsity against error"},
        ),
    log:
        "logs/report_sweeps.log",
    localrule: True
    conda:
        "../envs/saev.yaml"
    params:
        spec=PLAN.data["specs"]["gallery"],
    shell:
        "python -m saev.dashboard report-sweeps --spec {params.spec:q} --log {log:q} "
        "--out $(dirname {output:q})"
