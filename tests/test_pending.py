"""Jobs that Slurm will never start, and how long it lets jobs run."""

from pathlib import Path

from saev.workflow import partitions
from saev.workflow.pending import Watch


def squeue(folder, *jobs):
    """A program like Slurm's, which lists these jobs."""
    program = folder / "squeue"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(jobs) + "\nEND\n")
    program.chmod(0o755)
    return str(program)


def test_a_job_that_will_never_start_is_said_once_with_what_it_asks_for(tmp_path):
    here, said = Path.cwd(), []
    watch = Watch(
        said.append,
        squeue(
            tmp_path,
            f"7|PartitionTimeLimit|12:00:00|4000M|8|gres/gpu:1|rule_train_sae|{here}",
            f"8|Priority|1:00:00|4000M|8|N/A|rule_record_shard|{here}",
            f"9|Resources|1:00:00|4000M|8|N/A|rule_record_shard|{here}",
            "10|PartitionTimeLimit|1:00:00|4000M|8|N/A|rule_of_another_project|/elsewhere",
            f"11|QOSMaxMemoryPerJob|1:00:00|900G|8|N/A|rule_record_shard|{here}",
            f"12|QOSMaxJobsPerUserLimit|1:00:00|900G|8|N/A|rule_record_shard|{here}",
        ),
    )
    watch.look()
    watch.look()
    assert said == [
        "warning: Slurm's job 7 (rule_train_sae) will never start: PartitionTimeLimit. It asks for "
        "12:00:00 of time, 4000M of memory, 8 cores, gres/gpu:1. Stop with Ctrl-C, change that in "
        "the profile (set-resources, set-threads) and start again",
        "warning: Slurm's job 11 (rule_record_shard) will never start: QOSMaxMemoryPerJob. It asks "
        "for 1:00:00 of time, 900G of memory, 8 cores. Stop with Ctrl-C, change that in the "
        "profile (set-resources, set-threads) and start again",
    ]


def test_a_job_that_slurm_holds_is_said_once_with_how_to_release_it(tmp_path):
    said = []
    job = f"7|launch failed requeued held|1:00:00|4000M|8|N/A|rule_train_sae|{Path.cwd()}"
    watch = Watch(said.append, squeue(tmp_path, job))
    watch.look()
    watch.look()
    assert said == [
        "warning: Slurm holds the job 7 (rule_train_sae): launch failed requeued held. Once the "
        "cause is mended, run: scontrol release 7"
    ]


def test_a_slurm_that_does_not_answer_is_no_error(tmp_path):
    said = []
    Watch(said.append, str(tmp_path / "none")).look()
    Watch(said.append, squeue(tmp_path, "")).look()
    assert said == []


LIMITS = """\
main*|infinite
short|10:00
long|2-06:30:00
gpu|4:00:00
off|n/a
"""


def test_the_longest_time_of_a_job_is_that_of_its_partition(tmp_path):
    slurm = tmp_path / "sinfo"
    slurm.write_text(f"#!/bin/sh\ncat <<'END'\n{LIMITS}END\n")
    slurm.chmod(0o755)
    known = partitions.limits(str(slurm))
    assert known == {"short": 10, "long": 54 * 60 + 30, "gpu": 240}
    assert partitions.longest(known, "gpu,short,main") == 10
    assert partitions.longest(known, "") is None
    slurm.write_text(slurm.read_text().replace("short", "short*"))
    assert partitions.longest(partitions.limits(str(slurm)), "") == 10
    assert partitions.limits(str(tmp_path / "none")) == {}
