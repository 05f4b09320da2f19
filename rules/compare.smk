# Fails if a run doesn't match its reference. The verdicts stay, so you can run it again.
rule compare:
    input:
        stamps("compare"),
    log:
        "logs/compare.log",
    localrule: True
    conda:
        "../envs/saev.yaml"
    params:
        verdicts=[job.outputs[0] for job in jobs.of_stage(PLAN, "compare")],
    shell:
        "python -m saev.compare verdict {params.verdicts:q} 2>&1 | tee {log:q} >&2; "
        "exit ${{PIPESTATUS[0]}}"


rule compare_curves:
    input:
        unpack(inputs("compare_curves")),
    output:
        done=stamp("compare_curves"),
    log:
        log_of("compare_curves"),
    benchmark:
        log_of("compare_curves", "tsv")
    localrule: runs_here("compare_curves")
    conda:
        "../envs/saev.yaml"
    threads: threads_of("compare_curves")
    resources:
        **resources_of("compare_curves"),
    params:
        spec=spec("compare_curves"),
    shell:
        "python -m saev.compare curves --spec {params.spec:q} --threads {threads} --log {log:q} --done {output.done:q} "
        "--sae $(dirname {input.sae:q}) --out $(dirname {output.done:q})"
