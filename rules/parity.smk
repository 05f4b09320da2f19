# Nothing of it is a result. That the versions differ is an answer, not a failure.
rule parity:
    localrule: True
    params:
        **PARITY,
    shell:
        "python -m saev.tools parity {params.old:q} {params.new:q} || [ $? = 1 ]"
