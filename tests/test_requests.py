"""What jobs ask for, on this machine and on a cluster."""

import resource
from collections import Counter

import pytest

from saev.settings.compute import ComputeSettings
from saev.workflow import needed_memory, requests
from saev.workflow.plan import Plan
from saev.workflow.stages import RULES

NAMES = {"images": "pets-1", "vit": "tower-1", "sae": "dictionary-1", "analysis": "named-1"}
OPENS_A_GPU = {
    "record_shard",
    "train_sae",
    "analyze_shards",
    "merge_analysis",
    "evaluate_dictionary",
    "build_dashboard",
    "score_names",
}


def plan(cluster=True, gpus=False, model="ViT-B-16", processes=1, n_images=100, **more):
    vit = {"model": model, "weights": "openai", "layers": [-2], "tokens": ["cls", "patches"]}
    sae = {"architecture": "topk", "layer": -2, "tokens": "cls", "n_latents": more.pop("n", 64)}
    sae |= {"k": 4, "batch_size": 64, "epochs": 1, "lr": 0.001}
    components = {
        "images": {"pets-1": {"n_images": n_images}},
        "vit": {"tower-1": {"settings": vit, "loose": {}}},
        "sae": {"dictionary-1": {"settings": sae, "loose": {}, "processes": processes}},
    }
    compute = ComputeSettings(**more).model_dump()
    made = Plan({"components": components, "compute": compute, "runs": []})
    if cluster:
        requests.settle(made, gpus)
    return made


def asked(plan, name, attempt=1):
    return {rule: requests.resources(plan, rule, NAMES, attempt).get(name) for rule in RULES}


@pytest.mark.parametrize(
    ("device", "gpus", "asks"),
    [("cuda", False, 1), ("auto", True, 1), ("auto", False, 0), ("cpu", True, 0)],
)
def test_on_a_cluster_each_job_that_opens_a_gpu_asks_for_one_and_others_for_none(
    device, gpus, asks
):
    found = asked(plan(gpus=gpus, device=device), "gpu")
    assert found == {rule: asks * (rule in OPENS_A_GPU) for rule in RULES}


def test_a_training_in_several_processes_asks_for_their_gpus_on_one_machine_as_one_task():
    wanted = requests.resources(plan(device="cuda", processes=4), "train_sae", NAMES, 1)
    assert wanted["gpu"] == 4
    assert wanted["nodes"] == 1
    assert wanted["tasks_per_gpu"] == 0
    assert wanted["mem_mb"] == 4 * 16_000


def test_no_job_asks_for_more_time_than_its_partition_allows():
    made = plan()
    requests.settle(made, False, {"train_sae": 60, "merge_analysis": 300})
    assert asked(made, "runtime")["train_sae"] == 60
    assert [asked(made, "runtime", attempt)["merge_analysis"] for attempt in (1, 2)] == [240, 300]
    assert asked(made, "runtime", 2)["analyze_shards"] == 480


def test_only_tries_that_may_have_lacked_memory_raise_it(monkeypatch):
    monkeypatch.setattr(requests, "_ended", Counter())
    made = plan()
    other = NAMES | {"sae": "dictionary-2"}
    made.data["components"]["sae"]["dictionary-2"] = made.data["components"]["sae"]["dictionary-1"]

    def memory(attempt, names=NAMES):
        return requests.resources(made, "train_sae", names, attempt)["mem_mb"] / 16_000

    requests.note_end("train_sae", NAMES, 3000, 16_000)  # cancelled
    assert memory(2) == 1
    assert memory(3) == 2  # the second one was killed
    requests.note_end("train_sae", NAMES, 14_000, 16_000)  # perhaps for its memory
    assert memory(3) == 2
    assert memory(2, other) == 2
    assert requests.resources(made, "merge_analysis", NAMES, 2)["runtime"] > 30


@pytest.mark.parametrize(
    ("device", "gpus", "asks"),
    [("auto", 0, 0), ("auto", 2, 1), ("cuda", 0, 1), ("cuda", 2, 1), ("cpu", 2, 0)],
)
def test_this_machine_is_asked_for_a_gpu_if_it_has_some_or_must(device, gpus, asks):
    made = plan(cluster=False, device=device)
    requests.settle_here(made, gpus)
    assert asked(made, "gpu")["train_sae"] == asks
    assert asked(made, "gpu")["list_images"] is None


def test_jobs_on_gpus_share_the_cores_and_others_have_them_all():
    made = plan(cluster=False, device="auto", threads=0)
    for gpus, found in ((0, 16), (1, 16), (4, 4), (40, 1)):
        requests.settle_here(made, gpus)
        assert requests.threads(made, "train_sae", 16) == found
    assert requests.threads(made, "list_images", 16) == 1
    made = plan(cluster=False, device="auto", threads=3)
    requests.settle_here(made, 4)
    assert requests.threads(made, "train_sae", 16) == 3


def test_only_jobs_that_do_not_resume_ask_for_more_time_when_tried_again():
    first, third = (asked(plan(), "runtime", attempt) for attempt in (1, 3))
    longer = {rule for rule in RULES if third[rule] > first[rule]}
    assert longer == RULES.keys() - {"record_shard", "train_sae"}


def test_memory_grows_with_the_tower_and_with_the_dictionary():
    small = asked(plan(), "mem_mb")
    assert small == {rule: RULES[rule][1].cost.mem_mb for rule in RULES}
    huge = asked(plan(model="ViT-H-14"), "mem_mb")["record_shard"]
    giant = asked(plan(model="ViT-bigG-14"), "mem_mb")["record_shard"]
    # In float32 the towers alone have 2.5 and 7.4 GB, and as much is read from their files.
    assert 8_000 < huge < 14_000
    assert 18_000 < giant < 32_000
    n = 1 << 20
    wide = asked(plan(model="ViT-bigG-14", n=n), "mem_mb")
    one = 2 * n * 1664 * 4 / 1e6
    assert 4 * one < wide["train_sae"] < 8 * one
    assert one < wide["analyze_shards"] < wide["train_sae"]
    unknown = asked(plan(model="hf-hub:some/tower"), "mem_mb")["record_shard"]
    assert unknown == RULES["record_shard"][1].cost.mem_mb


def test_short_jobs_of_small_data_sets_run_where_the_others_are_submitted():
    short = {"list_images", "seal_activations", "label_images", "compare_curves", "build_gallery"}
    short |= {"finish_page", "show_sweeps"}
    for made, local in (
        (plan(), short),
        (plan(n_images=20_000), set()),
        (plan(local_images=0), set()),
        (plan(n_images=20_000, local_images=20_000), short),
        (plan(cluster=False), set()),
    ):
        assert {rule for rule in RULES if requests.here(made, rule)} == local


@pytest.mark.parametrize(
    ("device", "gpus", "lines"), [("auto", False, 1), ("auto", True, 0), ("cpu", False, 0)]
)
def test_that_no_job_asks_for_a_gpu_is_said_unless_somebody_decided_it(device, gpus, lines, said):
    plan(device=device, gpus=gpus)
    assert said().count("jobs ask for none") == lines


def test_trainings_of_equal_size_have_one_answer_here_and_others_their_own():
    made = plan(cluster=False, model="ViT-B-16")
    given = made.data["components"]["sae"]
    for name, n_latents in (("same-1", 64), ("large-1", 1_000_000)):
        settings = given["dictionary-1"]["settings"] | {"n_latents": n_latents, "lr": 0.5}
        given[name] = {**given["dictionary-1"], "settings": settings}
    made.data["runs"] = [{**NAMES, "sae": sae} for sae in ("dictionary-1", "same-1")]
    for rule in RULES:
        assert len(requests.first_tries(made, rule)) == 1
    made.data["runs"].append({**NAMES, "sae": "large-1"})
    assert [one["mem_mb"] for one in requests.first_tries(made, "train_sae")] == [16_000, 39_864]
    assert len(requests.first_tries(made, "merge_analysis")) == 1


def test_a_limit_on_addresses_under_which_pytorch_cannot_be_loaded_is_said(monkeypatch, caplog):
    caplog.set_level("INFO")
    for limit, said in ((resource.RLIM_INFINITY, 0), (10**10, 0), (2_048_000_000, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limit=limit: (limit, limit))
        caplog.clear()
        needed_memory.say_limit()
        assert len(caplog.messages) == said
    assert "2.0 GB of addresses (ulimit -v)" in caplog.text


def test_on_a_cluster_time_grows_with_the_model_and_the_data():
    def minutes(rule, gpus=False, tower="ViT-B-16", **more):
        return asked(plan(gpus=gpus, model=tower, **more), "runtime")[rule]

    usual = {rule: RULES[rule][1].cost.minutes for rule in RULES}
    assert asked(plan(), "runtime") == usual
    # 4,096 images of 1.0e12 operations, at 20 GFLOP a second for each of 8 threads.
    giant = minutes("record_shard", tower="ViT-bigG-14", n_images=1_000_000)
    assert giant == pytest.approx(4096 * (1.0e12 / 1.6e11 + 0.1) / 60, rel=0.05)
    assert minutes("record_shard", gpus=True, tower="ViT-bigG-14", n_images=1_000_000) == 240
    assert minutes("record_shard", tower="ViT-bigG-14", n_images=9) == 240
    # 12 operations for each of 65,536 · 768 weights.
    large = minutes("train_sae", n=65_536, n_images=100_000_000)
    assert large == pytest.approx(1e8 * (12 * 65_536 * 768 / 1.6e11 + 2e-5) / 60, rel=0.01)
    assert minutes("train_sae", gpus=True, n=65_536, n_images=100_000_000) == 720 < large
    assert minutes("train_sae", tower="hf-hub:some/tower", n_images=1 << 40) == 720
    assert minutes("analyze_shards", n=1 << 24) > minutes("analyze_shards", n=65_536) == 240
    alone = plan(cluster=False, n=65_536, n_images=100_000_000)
    assert asked(alone, "runtime")["train_sae"] == 720
