# Images -> activations -> dictionary -> analysis -> evaluation, dashboard. rules/ has one file per stage.
from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"


report: "rules/report/workflow.rst"


envvars:
    PLAN_VARIABLE,


wildcard_constraints:
    images=NAME,
    vit=NAME,
    sae=NAME,
    analysis=NAME,
    evaluation=NAME,
    reference=NAME,
    labels="[0-9a-f]{8}",
    number=r"\d{5}",


# The first rule is the default target: all runs, and the page that lists them.
rule gallery:
    input:
        lambda wildcards: through("gallery"),
    localrule: True


for stage in STAGES:

    include: f"rules/{stage.name}.smk"


include: "rules/parity.smk"
include: "demo/demo.smk"


before_jobs(lock_results, note_unseen, watch_pending)


onsuccess:
    say_unseen()
    print_where()
