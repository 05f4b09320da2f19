"""What a job asks for: threads, memory, time and GPUs, on this machine and on a cluster."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from saev.core import logs
from saev.core.files import canonical_json
from saev.workflow import needed_memory, needed_time
from saev.workflow.plan import Plan
from saev.workflow.stages import RULES

NEARLY = 0.8
"""Share of the memory a job asked for above which it may have been ended for want of more. Slurm
kills such a job without SIGTERM, but other schedulers send it first."""
_ended: Counter[str] = Counter()
"""How often a job was ended for something else in this run of the workflow: by `scancel`, by a time
limit, by a node that goes down."""


def settle(plan: Plan, gpus: bool, longest: Mapping[str, int] = MappingProxyType({})) -> None:
    """Note in the plan what jobs ask a cluster for. Where they run, they must come to the same.

    Args:
        gpus: whether its machines have GPUs.
        longest: how many minutes the jobs of a rule may run, where there is a limit.
    """
    compute = plan.data["compute"]
    if compute["device"] == "auto" and not gpus:
        logs.say(
            "compute.device is auto, and the profile's default resources name no gpu: jobs ask for "
            "none"
        )
    compute["cluster"] = {
        "threads": compute["threads"] or compute["cluster_threads"],
        "gpus": compute["device"] == "cuda" or (compute["device"] == "auto" and gpus),
        "longest": dict(longest),
    }


def settle_here(plan: Plan, gpus: int) -> None:
    """Note how many GPUs the jobs of a plan can have at once on this machine."""
    plan.gpus = gpus if plan.data["compute"]["device"] != "cpu" else 0


def _on_gpus(plan: Plan) -> bool:
    """Whether jobs that can use a GPU ask for one."""
    compute = plan.data["compute"]
    if "cluster" in compute:
        return compute["cluster"]["gpus"]
    return compute["device"] == "cuda" or plan.gpus > 0


def threads(plan: Plan, rule: str, cores: int) -> int:
    """Threads of a rule's jobs. Only heavy ones have several.

    Args:
        cores: those that Snakemake was given.
    """
    cost, compute = RULES[rule][1].cost, plan.data["compute"]
    if not cost.heavy:
        return 1
    # As many jobs run at once as there are GPUs.
    at_once = plan.gpus or 1 if cost.gpu else 1
    return compute.get("cluster", compute)["threads"] or max(1, cores // at_once)


def here(plan: Plan, rule: str) -> bool:
    """Whether a rule's jobs run on the machine that submits the others to a cluster."""
    compute = plan.data["compute"]
    sizes = [known["n_images"] for known in plan.data["components"].get("images", {}).values()]
    small = max(sizes, default=0) <= compute["local_images"]
    return "cluster" in compute and RULES[rule][1].cost.short and small


def resources(plan: Plan, rule: str, names: Mapping[str, str], attempt: int) -> dict[str, int]:
    """Memory, time and GPUs of a job. Later attempts ask for more memory.

    The time follows from the sizes only on a cluster: only there does it matter.

    Attempts of which `note_end` was told don't count. Later attempts ask for more time too, unless
    the job goes on where it was: partitions have limits.

    Args:
        names: names of the components that its directory lies in; empty if they don't matter.
    """
    cost, compute = RULES[rule][1].cost, plan.data["compute"]
    cluster = compute.get("cluster")
    # Each process of a training begins with the whole dictionary, and has its own GPU if there are
    # GPUs.
    trained = names and rule == "train_sae"
    processes = plan.component("sae", names["sae"]).get("processes", 1) if trained else 1
    tries = max(1, attempt - _ended[_key(rule, names)])
    tries_of_time = 1 if cost.resumes else attempt
    wanted = {
        "mem_mb": max(cost.mem_mb, _memory(plan, rule, names)) * tries * processes,
        "runtime": max(cost.minutes, _minutes(plan, rule, names)) * tries_of_time,
    }
    if cluster and rule in cluster["longest"]:
        wanted["runtime"] = min(wanted["runtime"], cluster["longest"][rule])
    gpus = processes if _on_gpus(plan) else 0
    if cost.gpu:
        wanted["gpu"] = gpus
    elif cluster:
        wanted["gpu"] = 0  # whatever the default resources say
    if cluster and rule == "train_sae":
        # All its GPUs in one machine, and one task: it starts its other processes itself.
        wanted |= {"nodes": 1, "tasks_per_gpu": 0}
    return wanted


def note_end(rule: str, names: Mapping[str, str], peak_mb: int, asked_mb: int) -> None:
    """Note that a job had SIGTERM, so that its next attempt asks for no more memory.

    Args:
        names: as for `resources`.
        peak_mb: its peak of memory; asked_mb: what it asked for. Close to it, memory may be why.
    """
    if peak_mb < NEARLY * asked_mb:
        _ended[_key(rule, names)] += 1


def _key(rule: str, names: Mapping[str, str]) -> str:
    return canonical_json([rule, dict(names)])


def first_tries(plan: Plan, rule: str) -> list[dict[str, int]]:
    """What a rule's jobs ask for at their first attempt on this machine, each answer once.

    Memory isn't scarce here, so that only a training asks for what its sizes need.
    """
    runs = plan.trainings if rule == "train_sae" else [{}]
    answers: list[dict[str, int]] = []
    for run in runs:
        if (asked := resources(plan, rule, run, attempt=1)) not in answers:
            answers.append(asked)
    return answers


def _minutes(plan: Plan, rule: str, names: Mapping[str, str]) -> int:
    """Minutes that the sizes of the tower, the dictionary and the data need; 0 if they don't matter
    or aren't known."""
    estimate = {
        "record_shard": needed_time.recording,
        "train_sae": needed_time.training,
        "analyze_shards": needed_time.analysis,
    }.get(rule)
    cluster = plan.data["compute"].get("cluster")
    if not names or not estimate or not cluster:
        return 0
    return estimate(plan, names, cluster["threads"], _on_gpus(plan))


def _memory(plan: Plan, rule: str, names: Mapping[str, str]) -> int:
    """MB that the sizes of the tower or the dictionary need; 0 if they don't matter or aren't
    known."""
    if "vit" not in names:
        return 0
    if rule == "record_shard":
        return needed_memory.recording(plan, names["vit"])
    if "sae" in names and RULES[rule][1].cost.heavy:
        copies = 6 if rule == "train_sae" else 3
        return needed_memory.dictionary(plan, names["vit"], names["sae"], copies)
    return 0
