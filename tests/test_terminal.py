"""What a person reads while the workflow runs."""

import errno
import logging
import os
import threading
from types import SimpleNamespace

import pytest

from saev.core import interrupts
from saev.core.errors import ENDED, FINAL
from saev.workflow import terminal as terminal_module
from saev.workflow.stages import RULES
from saev.workflow.terminal import SILENT, Terminal, _duration, described

RUN = {
    "images": "pets-11111111",
    "vit": "clip-b16-22222222",
    "sae": "cls.lr-0.1-33333333",
    "analysis": "named-44444444",
}


def record(text, event=None, **more):
    made = logging.makeLogRecord({"msg": text, **more})
    if event:
        made.event = SimpleNamespace(value=event)
    return made


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_said_in_words(rule):
    stage, found = RULES[rule]
    wildcards = {level: RUN[level] for level in stage.levels}
    if found.each:
        wildcards["number"] = "00012"
    text = described(rule, wildcards)
    assert rule not in text
    assert "{" not in text
    assert not any(digest in text for digest in ("1111", "2222", "3333", "4444"))
    assert ("12" in text) == bool(found.each)


def test_a_job_is_said_when_it_starts_and_when_it_ends():
    said = []
    terminal = Terminal(said.append, lambda: None)
    given = {"jobid": 4, "rule_name": "train_sae", "wildcards": {k: RUN[k] for k in list(RUN)[:3]}}
    terminal.filter(record(" Rule: train_sae, Jobid: 4", "job_info", **given))
    assert said == ["training cls.lr-0.1 (pets/clip-b16) …"]
    shown = terminal.filter(record("Finished jobid: 4 (Rule: train_sae)", "job_finished", job_id=4))
    assert not shown
    assert said[1] == "training cls.lr-0.1 (pets/clip-b16): done in 0 s"


def test_a_job_that_failed_is_said_with_its_log(tmp_path):
    said = []
    terminal = Terminal(said.append, lambda: None)
    (tmp_path / "a.log").touch()
    given = {"jobid": 1, "rule_name": "list_images", "wildcards": {"images": RUN["images"]}}
    terminal.filter(record("", "job_info", **given))
    terminal.filter(record("Error in rule", "job_error", **given, log=[str(tmp_path / "a.log")]))
    assert said[1] == f"listing the images of pets: failed; its log: {tmp_path / 'a.log'}"


def test_sigterm_is_said_once_and_a_job_that_had_it_too_has_not_failed():
    said = []
    terminal = Terminal(said.append, lambda: None)
    given = {"jobid": 1, "rule_name": "list_images", "wildcards": {"images": RUN["images"]}}
    terminal.filter(record("", "job_info", **given))
    for _ in range(3):
        text = "Will exit after finishing currently running jobs (scheduler)."
        assert not terminal.filter(record(text))
    assert not terminal.filter(record("Error in rule", "job_error", **given, log=[]))
    assert said[1:] == [
        "stopping: the jobs that run end first (Ctrl-C saves their states)",
        "listing the images of pets: stopped; the same command resumes",
    ]


def test_what_the_system_refuses_to_snakemake_is_one_line():
    said = []
    terminal = Terminal(said.append, lambda: None)
    failed = record("Traceback (most recent call last): …", "error", exception="OSError")
    for number, rest in ((errno.EPERM, "permission denied"), (errno.ENOTDIR, "a file is where")):
        try:
            raise OSError(number, "refused", "logs/build_gallery.log")
        except OSError:
            assert not terminal.filter(failed)
        assert said.pop().startswith(f"error: logs/build_gallery.log: {rest}")
    assert terminal.filter(failed)  # of an error that isn't the system's, all is shown
    assert not said


def test_what_snakemake_says_of_itself_is_left_to_its_log():
    terminal = Terminal([].append, lambda: None)
    assert not any(terminal.filter(record(f"{text}…")) for text in SILENT)
    assert terminal.filter(record("MissingInputException in rule x"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (61, "1 min 1 s"), (3600 * 5 + 125, "5 h 2 min")]
)
def test_durations_read_well(seconds, text):
    assert _duration(seconds) == text


def test_where_the_page_is_is_said_when_there_is_nothing_to_do():
    said = []
    terminal = Terminal(said.append, lambda: said.append("Open page"))
    assert terminal.filter(record("Building DAG of jobs..."))
    assert said == []
    nothing = "Nothing to be done (all requested files are present)."
    assert not terminal.filter(record(nothing))
    assert said == [nothing, "Open page"]


def failed(tmp_path, log, before=None, left=2, **more):
    """What is said of a job that ran elsewhere, and which jobs are given up."""
    said, given_up = [], []
    terminal = Terminal(said.append, lambda: None, lambda job: left, given_up.append, True)
    ended = more.pop("asked_to_end", [])
    terminal.asked_to_end = lambda job, peak_mb: ended.append(job)
    path = tmp_path / "a.log"
    if before is not None:
        path.write_text(before)
        os.utime(path, (1, 1))
    given = {"jobid": 1, "rule_name": "list_images", "wildcards": {"images": RUN["images"]}}
    terminal.filter(record("", "job_info", **given, log=[str(path)]))
    if log is not None:
        path.write_text(log)
    given = given | {"log": [str(path), *more.pop("others", ())]}
    terminal.filter(record("Error in rule", "job_error", **given, **more))
    return [line.replace(str(tmp_path), "") for line in said[1:]], given_up


def test_the_error_in_the_log_of_a_job_that_ran_elsewhere_is_said(tmp_path):
    log = f"10:00:00 listing\n10:00:01 error: 2 images are bad:\n  - a.png\n10:00:01 {FINAL}\n"
    said, given_up = failed(tmp_path, log)
    assert said == [
        "listing the images of pets: failed; its log: /a.log",
        "  error: 2 images are bad:",
        "    - a.png",
        "  not tried again: it needs you",
    ]
    assert given_up == [1]


def test_an_error_that_may_pass_is_tried_again(tmp_path):
    said, given_up = failed(tmp_path, "10:00:01 error: out of memory: give the job more\n")
    assert said[1:] == [
        "  error: out of memory: give the job more",
        "  trying it again (at most 2 more)",
    ]
    assert given_up == []


def test_the_error_of_an_earlier_try_is_not_taken_for_that_of_a_job_that_wrote_no_log(tmp_path):
    before = f"10:00:01 error: the disk is read-only\n10:00:01 {FINAL}\n"
    other = tmp_path / "node.out"
    other.write_text("module: not found\n\nslurmstepd: killed\n")
    said, given_up = failed(tmp_path, None, before, others=[str(other)], rule_msg="status: FAILED")
    assert said == [
        "listing the images of pets: failed; its log: /node.out",
        "  status: FAILED",
        "  module: not found",
        "  slurmstepd: killed",
        "  trying it again (at most 2 more)",
    ]
    assert given_up == []


@pytest.mark.parametrize(
    ("why", "left"),
    [
        ("invalid partition specified: x", "not tried again: it needs you"),
        ("Requested node configuration is not available", "not tried again: it needs you"),
        ("Socket timed out on send/recv operation", "trying it again (at most 2 more)"),
    ],
)
def test_what_slurm_says_of_a_job_that_it_does_not_take_is_said_without_the_command(
    tmp_path, why, left
):
    ended = []
    message = (
        f"SLURM sbatch failed. The error message was 'sbatch: error: {why}'.\n    sbatch call:\n"
        f"        sbatch --wrap=python\nFor further error details see the cluster/cloud log"
    )
    said, given_up = failed(tmp_path, None, rule_msg=message, asked_to_end=ended)
    assert said == [
        "listing the images of pets: failed",
        f"  SLURM sbatch failed. The error message was 'sbatch: error: {why}'.",
        f"  {left}",
    ]
    # If it is tried again, it needs no more memory.
    assert (given_up, ended) == (([1], []) if "needs you" in left else ([], [1]))


@pytest.mark.parametrize(
    ("status", "last", "more"),
    [("CANCELLED", "", False), ("CANCELLED", "slurmstepd: error: Exceeded memory limit", True),
     ("TIMEOUT", "", False), ("OUT_OF_MEMORY", "", True), ("FAILED", "", True)],
)  # fmt: skip
def test_a_job_that_slurm_ended_asks_for_more_memory_only_if_that_may_be_why(
    tmp_path, status, last, more
):
    output, ended = tmp_path / "node.out", []
    output.write_text(f"{last}\n")
    message = f"SLURM-job '7' failed, SLURM status is: '{status}'. Reason: x."
    failed(tmp_path, None, others=[str(output)], rule_msg=message, asked_to_end=ended)
    assert (not ended) == more


def test_a_long_error_is_cut(tmp_path):
    log = "10:00:01 error: many:\n" + "".join(f"  - {i}\n" for i in range(99))
    said, _ = failed(tmp_path, log, left=0)
    assert said[-1] == "  … 80 more lines"


def test_what_a_job_elsewhere_warned_of_is_said_once(tmp_path):
    said, log = [], tmp_path / "a.log"
    terminal = Terminal(said.append, lambda: None, elsewhere=True)
    text = "warning: two:\n  - lines"
    log.write_text(f"10:00:01 {text}\n10:00:02 a note of a warning\n10:00:03 warning: another\n")
    for number in (1, 2):
        given = {"jobid": number, "rule_name": "train_sae", "wildcards": RUN, "log": [str(log)]}
        terminal.filter(record("", "job_info", **given))
        terminal.filter(record("", "job_finished", job_id=number))
    assert [line for line in said if line.startswith("  ")] == [
        *(f"  {line}" for line in text.splitlines()),
        "  warning: another",
    ]
    assert said[-1].endswith(": done in 0 s")


def test_a_users_own_rule_is_said_only_when_it_fails(tmp_path):
    said = []
    terminal = Terminal(said.append, lambda: None, elsewhere=True)
    given = {"jobid": 1, "rule_name": "make_images", "wildcards": {}}
    terminal.filter(record("", "job_info", **given))
    assert said == []
    terminal.filter(record("Error in rule", "job_error", **given, rule_msg="status: FAILED"))
    assert said == ["make images: failed", "  status: FAILED"]


def test_of_jobs_that_run_together_only_the_one_that_failed_is_called_failed(tmp_path):
    said, given_up = [], []
    terminal = Terminal(said.append, lambda: None, lambda job: 2, given_up.append, True)
    names = {name: RUN[name] for name in ("images", "vit")}
    jobs = [
        {
            "jobid": number,
            "rule_name": "record_shard",
            "wildcards": {**names, "number": f"{number:05}"},
            "log": [str(tmp_path / f"{number}.log")],
            "output": [str(tmp_path / f"{number}.done")],
        }
        for number in range(3)
    ]
    for job in jobs:
        terminal.filter(record("", "job_info", **job))
    (tmp_path / "0.log").write_text("10:00:00 recorded\n")
    (tmp_path / "0.done").touch()
    (tmp_path / "1.log").write_text(f"10:00:01 error: bad.png\n10:00:01 {FINAL}\n")
    said.clear()
    terminal.filter(record("", "group_error", job_error_info=jobs, aux_logs=["node.out"]))
    for job in jobs:
        terminal.filter(record("", "job_error", **job, indent=True))
    assert said == [
        "a job of 3 that run together failed; its output: node.out",
        "recording shard 0 of clip-b16 (pets): done",
        f"recording shard 1 of clip-b16 (pets): failed; its log: {tmp_path / '1.log'}",
        "  error: bad.png",
        "  not tried again: it needs you",
    ]
    assert given_up == [1]


def test_what_slurm_wrote_of_a_killed_job_is_said(tmp_path):
    other = tmp_path / "node.out"
    killed = "slurmstepd-vm: error: Exceeded job memory limit"
    other.write_text(f"rule record_shard\n{killed}\n{killed}\nError in rule\n")
    said, given_up = failed(tmp_path, "10:00:01 listing\n", others=[str(other)])
    assert said == [
        "listing the images of pets: failed; its log: /a.log",
        f"  {killed}",
        "  trying it again (at most 2 more)",
    ]
    assert given_up == []


@pytest.mark.parametrize("ctrl_c", [True, False])
def test_a_job_that_ctrl_c_ended_before_snakemake_noticed_it_has_not_failed(
    tmp_path, monkeypatch, ctrl_c
):
    came, said, log = threading.Event(), [], tmp_path / "train.log"
    monkeypatch.setattr(interrupts, "came", came)
    monkeypatch.setattr(terminal_module, "NOTICE_SECONDS", 0.4)
    terminal = Terminal(said.append, lambda: None)
    job = {"rule_name": "list_images", "wildcards": {"images": "pets-1"}, "log": [str(log)]}
    terminal.filter(record("", "job_info", jobid=1, **job))
    log.write_text(f"10:00:00 {ENDED} 700\n")
    if ctrl_c:
        threading.Timer(0.1, came.set).start()
    ended = threading.Thread(
        target=terminal.filter,
        args=[record("Error in rule", "job_error", jobid=1, log=[str(log)])],
    )
    ended.start()
    ended.join()
    assert any("failed" in line for line in said) is not ctrl_c
