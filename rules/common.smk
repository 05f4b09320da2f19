# Helpers of the rules: the plan of this run, and lookups in it. No rules here.
import atexit
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, str(Path(workflow.basedir)))

from saev.code import code_digest
from saev.errors import UserError
from saev.files import canonical_json
from saev.locks import Lock
from saev.plan import Plan, resolve
from saev.stage import PLAN_VARIABLE

# Two lines for every round of jobs that say nothing; `--quiet all` would hide errors with them.
logger.addFilter(
    lambda record: not re.fullmatch(
        r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.", str(record.msg)
    )
)

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*-[0-9a-f]{8}"


def make_plan():
    """The plan of this run; remote jobs read the one that the main process has written."""
    try:
        if not workflow.is_main_process:
            return Plan.load(os.environ[PLAN_VARIABLE])
        plan = resolve(config)
        os.environ[PLAN_VARIABLE] = str(plan.save())
        return plan
    except UserError as error:
        raise WorkflowError(str(error)) from None


def lock_results():
    """Hold results/ for as long as this run of the workflow lasts."""
    if not workflow.is_main_process:
        return
    lock = Lock("results/.lock", "results/")
    try:
        lock.acquire()
    except UserError as error:
        raise WorkflowError(str(error)) from None
    atexit.register(lock.release)


PLAN = make_plan()


def spec(kind):
    """Settings and code of the component that a wildcard names, as the parameter of its rule."""
    return lambda wildcards: PLAN.data["specs"][kind][getattr(wildcards, kind)]


def dashboard_spec(wildcards):
    """Code of the dashboard, and the credit of the pictures that it shows."""
    return PLAN.data["specs"]["dashboard"][looked_at(wildcards)]


def demo_spec(module):
    """Code of a module of the demo."""
    return canonical_json({"code": code_digest(module), "settings": {}})


def job_threads(wildcards):
    """Threads of a heavy job: those stated, or all that this run was given."""
    return PLAN.data["compute"]["threads"] or workflow.cores or 1


def n_gpus(wildcards):
    """GPUs that a heavy job asks for."""
    return int(PLAN.data["compute"]["device"] == "cuda")


def processes(wildcards):
    """Processes of a training; each holds the whole dictionary, and has a GPU of its own where there are any."""
    return PLAN.component("sae", wildcards.sae)["settings"].get("processes", 1)


def when_made(kind):
    """Completion file of a source that a rule makes; its content is in the digest already."""

    def ready(wildcards):
        path = PLAN.component(kind, getattr(wildcards, kind))["ready"]
        return [ancient(path)] if path else []

    return ready


def shards(wildcards):
    count = PLAN.n_shards(wildcards.images, wildcards.vit)
    base = f"results/{wildcards.images}/{wildcards.vit}/shards"
    return [f"{base}/{number:05d}.json" for number in range(count)]


def looked_at(wildcards):
    """Name of the images that an analysis looks at: those trained on, unless it says otherwise."""
    on = PLAN.component("analysis", wildcards.analysis)["settings"].get("on")
    return on or wildcards.images


def looked_at_activations(wildcards):
    return f"results/{looked_at(wildcards)}/{wildcards.vit}/meta.json"


def looked_at_images(wildcards):
    return f"results/{looked_at(wildcards)}/meta.json"


def parts(wildcards):
    base = f"results/{wildcards.images}/{wildcards.vit}/{wildcards.sae}/{wildcards.analysis}/parts"
    return [f"{base}/{n:05d}.json" for n in range(PLAN.n_parts(looked_at(wildcards)))]


STAGES = ["images", "activations", "train", "analyze", "dashboard"]


def through(stage):
    """All files of the stages up to this one: what is missing is made again, also in the middle.

    (Snakemake doesn't miss a file that nothing but existing files was made from.)
    """
    wanted = STAGES[: STAGES.index(stage) + 1]
    return [
        file for run in PLAN.runs for name in wanted for file in files_of(name, run)
    ]


def files_of(stage, run):
    looked_at = [{**run, "images": images} for images in (run["images"], run["on"])]
    sae = "results/{images}/{vit}/{sae}".format(**run)
    analysis = f"{sae}/{run['analysis']}"
    n_parts = PLAN.n_parts(run["on"])
    if stage == "images":
        names = ["manifest.parquet", "run.json", "meta.json"]
        return [
            f"results/{one['images']}/{name}" for one in looked_at for name in names
        ]
    if stage == "activations":
        return [file for one in looked_at for file in files_of_activations(**one)]
    if stage == "train":
        names = [
            "checkpoint.safetensors",
            "train.jsonl",
            "curves.png",
            "run.json",
            "meta.json",
        ]
        return [f"{sae}/{name}" for name in names]
    if stage == "analyze":
        names = ["labels.parquet", "latents.safetensors", "latents.parquet", "run.json"]
        names += ["meta.json", *(f"parts/{n:05d}.json" for n in range(n_parts))]
        return [f"{analysis}/{name}" for name in names]
    return [f"{analysis}/dashboard/{name}" for name in ("index.html", "summary.json")]


def files_of_activations(images, vit, **_):
    names = ["images.parquet", "stats.safetensors", "run.json", "meta.json"]
    names += [
        f"shards/{number:05d}.json" for number in range(PLAN.n_shards(images, vit))
    ]
    return [f"results/{images}/{vit}/{name}" for name in names]


def print_where():
    page = Path("results/index.html").resolve()
    if page.exists():
        print(f"Open {page}")
