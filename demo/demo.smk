# Weights and images of the demo. The result of a rule is complete when its .json exists.
rule fetch_clip_weights:
    output:
        "demo/cache/clip-vit-b-16.safetensors.json",
    log:
        "logs/demo/fetch_clip_weights.log",
    benchmark:
        "logs/demo/fetch_clip_weights.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        **resources_beside(mem_mb=2000, minutes=30),
    params:
        spec=PLAN.data["specs"]["makers"]["demo.clip_weights"],
    shell:
        "python -m demo.clip_weights --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--out demo/cache/clip-vit-b-16.safetensors"


# For examples/second_tower.yaml.
rule fetch_focus_weights:
    output:
        "demo/cache/focus-vit-s-14.safetensors.json",
    log:
        "logs/demo/fetch_focus_weights.log",
    benchmark:
        "logs/demo/fetch_focus_weights.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        **resources_beside(mem_mb=2000, minutes=30),
    params:
        spec=PLAN.data["specs"]["makers"]["demo.focus_weights"],
    shell:
        "python -m demo.focus_weights --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--out demo/cache/focus-vit-s-14.safetensors"


rule draw_openmoji:
    output:
        "demo/cache/openmoji.json",
    log:
        "logs/demo/draw_openmoji.log",
    benchmark:
        "logs/demo/draw_openmoji.tsv"
    conda:
        "../envs/saev.yaml"
    threads: 1
    resources:
        **resources_beside(mem_mb=2000, minutes=30),
    params:
        spec=PLAN.data["specs"]["makers"]["demo.openmoji"],
    shell:
        "python -m demo.openmoji --spec {params.spec:q} --threads {threads} --log {log:q} "
        "--out demo/cache/openmoji"
