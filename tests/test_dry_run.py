"""What a dry run says of jobs, and what it leaves out."""

from types import SimpleNamespace

import pytest

from saev.workflow import dry_run

QUIET = "rules"


def said_of(rules, dryrun=True, quiet=(QUIET, "host"), plugins=()):
    """What is said of jobs of these rules, and which of them Snakemake describes itself."""

    class Job:
        def log_info(self, indent=False):
            described.append(self.rule.name)

    said, described = [], []
    shown = SimpleNamespace(quiet=set(quiet), log_handler_settings=dict.fromkeys(plugins))
    workflow = SimpleNamespace(dryrun=dryrun, output_settings=shown)
    dry_run.shorten(Job, QUIET, said.append)
    for number, rule in enumerate(rules):
        job = Job()
        job.rule, job.dag = SimpleNamespace(name=rule), SimpleNamespace(workflow=workflow)
        job.wildcards_dict = {"images": "pets-1", "vit": "tiny-1", "sae": f"cls.seed-{number}-1"}
        job.log_info(indent=True)
    return said, described


def test_a_dry_run_describes_one_job_of_each_rule_and_says_the_others_in_a_line():
    said, described = said_of(["train_sae", "train_sae", "list_images", "train_sae"])
    assert described == ["train_sae", "list_images"]
    assert said == ["training cls.seed-1 (pets/tiny) …", "training cls.seed-3 (pets/tiny) …"]


@pytest.mark.parametrize(
    "options", [{"dryrun": False}, {"quiet": ("host",)}, {"plugins": ("mine",)}], ids=str
)
def test_whoever_wants_to_see_all_jobs_does(options):
    rules = ["train_sae", "train_sae", "train_sae"]
    assert said_of(rules, **options) == ([], rules)


def test_rules_of_the_user_are_described_always():
    assert said_of(["mine", "mine"]) == ([], ["mine", "mine"])
