# Pictures -> activations -> dictionary -> analysis -> dashboard. A rule a stage, in rules/.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"


envvars:
    PLAN_VARIABLE,


wildcard_constraints:
    images=NAME,
    vit=NAME,
    sae=NAME,
    analysis=NAME,
    reference=NAME,
    number=r"\d{5}",


localrules:
    gallery,
    images,
    activations,
    train,
    compare,
    analyze,
    dashboard,


# The first rule is the default target: all runs, and the page that lists them.
rule gallery:
    input:
        "results/index.html",
        through("dashboard"),


include: "rules/images.smk"
include: "rules/activations.smk"
include: "rules/train.smk"
include: "rules/compare.smk"
include: "rules/analyze.smk"
include: "rules/dashboard.smk"
include: "demo/demo.smk"


onstart:
    lock_results()


onsuccess:
    print_where()
