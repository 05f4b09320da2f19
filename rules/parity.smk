# Nothing of it is a result. That the versions differ is an answer, not a failure.
rule parity:
    log:
        "logs/parity.log",
    localrule: True
    conda:
        "../envs/saev.yaml"
    params:
        **PARITY,
    shell:
        "python -m saev.tools parity {params.old:q} {params.new:q} 2>&1 | tee {log:q} || [ $? = 1 ]"
