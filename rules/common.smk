# The settings, the plan of this run, and lookups in it and in the table of stages.
import inspect
import os
import sys
import time
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.common.configfile import load_configfile
from snakemake.jobs import Job
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

HERE = str(Path(workflow.basedir))
sys.path.insert(0, HERE)

from saev.core import interrupts

if workflow.is_main_process:
    interrupts.answer()

from saev.core import gpus, logs
from saev.core.errors import FINAL, UserError
from saev.core.plan_file import PLAN_VARIABLE
from saev.settings import config as schema
from saev.settings.yaml_file import require_yaml
from saev.workflow import dry_run, jobs, requests
from saev.workflow.needed_memory import say_limit
from saev.workflow.plan import Plan, resolve
from saev.workflow.renamed import renamed
from saev.workflow.terminal import Terminal
from saev.workflow.stages import BY_NAME, LEVELS, RULES, STAGES, stamp

jobs.import_from(HERE)
logs.start()
# The names of rules and targets here, by those that a Snakefile gave them of which this is a module.
OWN = {workflow.modifier.modify_rulename(name): name for name in (*RULES, *BY_NAME)}
TERMINAL = Terminal(
    logs.say,
    lambda: print_where(),
    lambda job: tries_left(job),
    lambda job: give_up(job),
    asked_to_end=lambda job, peak_mb: asked_to_end(job, peak_mb),
    own=OWN,
)
logger.addFilter(TERMINAL)
dry_run.shorten(Job, Quietness.RULES, logs.say)


def require_readable():
    """Refuse settings files with slips, line by line, before Snakemake says less about them."""
    try:
        for path in ("config.yaml", *workflow.overwrite_configfiles):
            if workflow.is_main_process and Path(path).exists():
                require_yaml(os.path.relpath(path))
    except UserError as error:
        logs.say(f"error: {error}")
        sys.exit(1)


require_readable()


include: "running.smk"


if workflow.is_main_process:

    configfile: "config.yaml"


NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*-[0-9a-f]{8}"


# What `snakemake parity --config old=… new=…` compares.
PARITY = {
    "old": str(config.pop("old", "HEAD")),
    "new": str(config.pop("new", "worktree")),
}


def log_of(rule, ending="log"):
    """Path of a job's log, outside of results/."""
    stage, found = RULES[rule]
    number = "-{number}" if found.each else ""
    return f"logs{stage.folder.removeprefix('results')}/{rule}{number}.{ending}"


def make_plan():
    """The plan of this run. The main process makes it; jobs read its file."""
    try:
        require_reachable()
        if not workflow.is_main_process:
            plan = Plan.load(os.environ[PLAN_VARIABLE])
            config.update(plan.data["config"])
            return plan
        say_limit()
        plan = resolve(config, configfiles=workflow.overwrite_configfiles)
        say_unused()
        for line in renamed(plan):
            logs.say(line)
        force(plan)
        if on_cluster():
            TERMINAL.elsewhere = True
            requests.settle(plan, gpus_by_default(), longest())
            # Otherwise the cores of this machine, or the one core of a dry run, would be a limit
            # there too.
            workflow.global_resources["_cores"] = None
        else:
            # Jobs that ask for GPUs wait for each other. The command line may say how many run at
            # once: fewer than there are GPUs, or more where MPS shares them.
            if "gpu" in workflow.global_resources:
                at_once = workflow.global_resources["gpu"].value
            else:
                at_once = len(gpus.usable())
                workflow.register_resource("gpu", max(1, at_once))
            requests.settle_here(plan, at_once)
        jobs.settle(jobs.jobs(plan))
        os.environ[PLAN_VARIABLE] = str(plan.save())
        # Somebody may be editing these files when a job starts.
        workflow.config_settings.configfiles = []
        if workflow.output_settings.stdout:  # a dry run
            dry_run.end_unread()
        return plan
    except UserError as error:
        # An exception would show where this file raised it.
        logs.say(f"error: {error}")
        for rule, wildcards in targets_of_job():
            # What submitted this job looks only there.
            logs.start(log_of(rule).format(**wildcards))
            logs.note(f"error: {error}")
            logs.note(FINAL)
        sys.exit(1)


def say_unused():
    """Name the entries that no run uses; with `--configfile`, only those in its files."""
    given = [Path(path) for path in workflow.overwrite_configfiles]
    theirs = [load_configfile(path) for path in given]
    for entry in schema.unused(schema.parse(config)):
        section, _, name = entry.partition(".")
        if not theirs or any(name in (one.get(section) or {}) for one in theirs):
            logs.say(f"{entry}: no run uses it")
    if given and not any("runs" in one for one in theirs):
        names = ", ".join(path.name for path in given)
        logs.say(f"{names}: names no runs, so those of config.yaml are made")


def force(plan):
    """Note in the plan which rules `--forcerun` and `--forceall` name, so that they really rerun.

    The name of a stage stands for all its rules.
    """
    given = dag_settings()
    if given is None:
        return
    named = {OWN[name] for name in given.forcerun & OWN.keys()}
    rules = {*jobs.rules_of(named), *(named & RULES.keys())}
    given.forcerun = {*given.forcerun, *map(workflow.modifier.modify_rulename, rules)}
    if given.forceall:
        rules = set(RULES)
    if rules:
        plan.data["forced"] = {"rules": sorted(rules), "at": time.time()}


PLAN = make_plan()


def through(stage):
    """Stamps of the stages up to this one."""
    return jobs.through(PLAN, stage)


def stamps(stage):
    """Stamps of a stage, over all runs."""
    return [job.stamp for job in jobs.of_stage(PLAN, stage)]


def inputs(rule):
    """The inputs of a rule by name, as a function of the wildcards that looks them up in the plan."""
    stage, found = RULES[rule]

    def named(wildcards):
        run = run_of(wildcards)
        paths = jobs.inputs_of(PLAN, rule, run)
        if found.made:
            # The user may have a rule that makes it. It is `ancient`, as the digest already covers its content.
            path = PLAN.component(stage.component, run[stage.component])["ready"]
            paths["ready"] = [ancient(path)] if path else []
        return paths

    return signed(named)


def run_of(wildcards):
    """The names of the components in the wildcards, of the analysed images (``on``) and of labels."""
    run = dict(wildcards.items())
    known = run.get("analysis") and PLAN.component("analysis", run["analysis"])
    found = {"on": (known and known["on"]) or run.get("images"), **run}
    return {**found, "labels": known["labels"]} if known and known["labels"] else found


def in_report(rule, output, **about):
    """A file that `snakemake --report` shows.

    It is declared, so that the report finds it. It copies parts of results, so nothing is lost when
    Snakemake deletes it.
    """
    stage, found = RULES[rule]
    return report(f"{stage.folder}/{found.outputs[output]}", **about)


def threads_of(rule):
    """Threads of a job."""
    return requests.threads(PLAN, rule, workflow.resource_settings.cores or 1)


def resources_of(rule):
    """Memory, time and GPUs of a job."""
    first, *others = requests.first_tries(PLAN, rule)
    here = "cluster" not in PLAN.data["compute"]
    fixed = temporary_folder() if here else {}
    if here and not others and not tried_again():
        # Snakemake takes long over a function for each job.
        return first | fixed

    def asked(name):
        def value(wildcards, attempt):
            names = dict(wildcards.items())
            return requests.resources(PLAN, rule, names, attempt)[name]

        return signed(value)

    return {name: asked(name) for name in first} | fixed


def resources_beside(mem_mb, minutes):
    """Memory and time of a job that belongs to no stage. It takes no GPU, though others may."""
    return {
        "mem_mb": signed(lambda wildcards, attempt: mem_mb * attempt),
        "runtime": signed(lambda wildcards, attempt: minutes * attempt),
        "gpu": 0,
    }


def runs_here(rule):
    """Whether a rule's jobs run on this machine, also if those of others go to a cluster."""
    return requests.here(PLAN, rule)


def signed(function):
    """The same, with its parameters at hand. Snakemake asks for them several times for each job."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


def spec(rule):
    """The only parameter of a rule: settings and code of what its job makes."""
    return signed(lambda wildcards: PLAN.spec(rule, run_of(wildcards)))


def print_where():
    gallery, rule = RULES["build_gallery"]
    page = Path(gallery.folder, rule.outputs["page"]).resolve()
    if page.exists():
        print(f"Open {page}", flush=True)
