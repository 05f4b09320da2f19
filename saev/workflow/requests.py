"""What a job asks for: threads, memory, time and GPUs, on this machine and on a cluster."""

from collections.abc import Mapping

from saev.workflow.plan import Plan
from saev.workflow.stages import RULES


def settle(plan: Plan) -> None:
    """Note in the plan what jobs ask a cluster for. Where they run, they must come to the same."""
    compute = plan.data["compute"]
    compute["cluster"] = {"threads": compute["threads"] or compute["cluster_threads"]}


def threads(plan: Plan, rule: str, cores: int) -> int:
    """Threads of a rule's jobs. Only heavy ones have several.

    Args:
        cores: those that Snakemake was given.
    """
    if not RULES[rule][1].cost.heavy:
        return 1
    compute = plan.data["compute"]
    return compute.get("cluster", compute)["threads"] or cores


def resources(plan: Plan, rule: str, names: Mapping[str, str], attempt: int) -> dict[str, int]:
    """Memory, time and GPUs of a job. Later attempts ask for more memory and time.

    Args:
        names: names of the components that its directory lies in.
    """
    cost = RULES[rule][1].cost
    known = plan.component("sae", names["sae"]) if rule == "train_sae" and names else {}
    # Each process of a training holds the whole dictionary, and has its own GPU if there are GPUs.
    processes = known.get("processes", 1)
    wanted = {"mem_mb": cost.mem_mb * attempt * processes, "runtime": cost.minutes * attempt}
    if cost.gpu:
        wanted["gpu"] = processes * int(plan.data["compute"]["device"] == "cuda")
    return wanted
