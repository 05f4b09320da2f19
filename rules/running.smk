# What Snakemake was told, what it does with jobs, and what happens before the first one.
import atexit
import inspect
import shutil
import tempfile

from snakemake.api import DAGApi
from snakemake.settings.types import DeploymentMethod, SharedFSUsage
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from saev.core.locks import Lock
from saev.workflow import partitions, pending


def require_reachable():
    """Refuse what would keep jobs from the package, or Snakemake from the results."""
    kept = workflow.storage_settings
    if kept.default_storage_provider or kept.shared_fs_usage != SharedFSUsage.all():
        raise UserError(
            "results/ must lie on a disk that all jobs see: Snakemake would store the stamps of jobs "
            "alone, and lose the results beside them. Leave out --default-storage-provider and "
            "--shared-fs-usage"
        )
    methods = workflow.deployment_settings.deployment_method
    if DeploymentMethod.CONDA in methods and not Path(HERE, "saev").is_dir():
        raise UserError(
            "--sdm conda needs a clone of saev. Without one, jobs run where saev is installed: "
            "leave it out"
        )


def dag_settings():
    """Options such as `--forcerun`, which Snakemake sets only after reading this file."""
    api = found_above("self", lambda value: isinstance(value, DAGApi))
    return api and api.dag_settings


def tried_again():
    """Whether failed jobs may be tried again, as far as known. See `dag_settings`."""
    options = command_line()
    return not workflow.is_main_process or options is None or bool(options.retries)


def on_cluster():
    """Whether a scheduler runs the jobs, also in a dry run of that."""
    options = command_line()
    if options is None:
        return False
    return (
        ExecutorPluginRegistry()
        .get_plugin(options.executor)
        .common_settings.non_local_exec
    )


def gpus_by_default():
    """Whether the default resources, which a profile names, have GPUs."""
    return by_default("gpu", 0) != "0"


def by_default(resource, otherwise=""):
    """A resource as the default ones have it, which a profile names."""
    return raw(
        (workflow.resource_settings.default_resources or {}).get(resource), otherwise
    )


def raw(value, otherwise):
    """A resource as somebody wrote it; ``otherwise`` if nobody did."""
    return str(otherwise if value is None else getattr(value, "raw", value))


def longest():
    """How many minutes Slurm lets the jobs of a rule run, by rule, where their partition says it."""
    options = command_line()
    # A file of partitions lets the executor choose one for each job.
    chosen = isinstance(getattr(options, "slurm_partition_config", None), str | Path)
    if (
        options.executor != "slurm"
        or chosen
        or "SNAKEMAKE_SLURM_PARTITIONS" in os.environ
    ):
        return {}
    limits, found = partitions.limits(), {}
    for own in RULES:
        name = workflow.modifier.modify_rulename(own)
        given = workflow.resource_settings.overwrite_resources.get(name) or {}
        partition = raw(given.get("slurm_partition"), by_default("slurm_partition"))
        minutes = partitions.longest(limits, partition)
        if minutes is not None:
            found[own] = minutes
    return found


def command_line():
    """The options of Snakemake and of its profile; None where a program called it."""
    return found_above("args", lambda value: hasattr(value, "retries"))


def targets_of_job():
    """Rules and wildcards of the jobs that a scheduler has started this Snakemake for."""
    targets = getattr(command_line(), "target_jobs", None) or ()
    own = [(OWN.get(one.rulename), one.wildcards_dict) for one in targets]
    return [(rule, wildcards) for rule, wildcards in own if rule in RULES]


def own_name(job):
    """The name of a job's rule here, whatever the Snakefile calls it of which this is a module."""
    return OWN.get(job.rule.name, job.rule.name)


def running(jobid):
    """A job of the workflow by its number, or the group of jobs that it runs in."""
    job = next(job for job in workflow.dag.needrun_jobs() if job.jobid == jobid)
    return workflow.dag.get_job_group(job) or job


def tries_left(jobid):
    """How often a job that failed will be tried again."""
    job = running(jobid)
    return max(0, job.restart_times - job.attempt + 1)


def give_up(jobid):
    """Keep Snakemake from trying a job again. It decides on that after it says the job failed."""
    job = running(jobid)
    # Its public name would make the job ask for other resources than those that it gives back.
    job._attempt = job.restart_times + 1


def asked_to_end(jobid, peak_mb):
    """Note that a job had SIGTERM, which is seldom for want of memory."""
    job = next(job for job in workflow.dag.needrun_jobs() if job.jobid == jobid)
    asked = int(job.resources.get("mem_mb", 0))
    requests.note_end(own_name(job), job.wildcards_dict, peak_mb, asked)


def found_above(name, fits):
    """A local variable of a caller of this file; None if there is none."""
    frame = inspect.currentframe()
    while frame is not None:
        value = frame.f_locals.get(name)
        if value is not None and fits(value):
            return value
        frame = frame.f_back
    return None


def lock_results():
    """Hold results/ for as long as this run of the workflow lasts."""
    if not workflow.is_main_process:
        return
    lock = Lock("results/.lock", "results/")
    try:
        lock.acquire(on_wait=logs.say)
    except UserError as error:
        logs.say(f"error: {error}")
        sys.exit(1)
    atexit.register(lock.release)


def before_jobs(*actions):
    """Call ``actions`` before the first job, also if this is a module of another Snakefile.

    Snakemake only calls the last `onstart` of the main Snakefile.
    """
    register = workflow.onstart

    def after_them(function):
        def start(log):
            for action in actions:
                action()
            function(log)

        return start

    # The main Snakefile may have had its `onstart` before, or have it later.
    workflow._onstart = after_them(workflow._onstart)
    workflow.onstart = lambda function: register(after_them(function))


UNSEEN = []
"""Jobs whose code or settings changed, but which Snakemake leaves out of this run."""


def note_unseen():
    """Find what Snakemake doesn't look at: what follows, as `ancient`, from a job that has to run."""
    if not workflow.is_main_process:
        return
    needed = set(workflow.dag.needrun_jobs())
    if any(own_name(job) not in RULES for job in needed):
        UNSEEN.extend(
            job
            for job in workflow.dag.jobs
            if own_name(job) in RULES
            and job not in needed
            and workflow.persistence.params_changed(job)
        )


def say_unseen():
    """Say what a second run will make."""
    if UNSEEN:
        logs.say(
            f"{len(UNSEEN):,} results were made by other code or settings. Snakemake looks at them "
            f"only when what makes their images or weights has run: start the same command again"
        )


def watch_pending():
    """Say which jobs Slurm will never start."""
    if workflow.is_main_process and on_cluster() and shutil.which("squeue"):
        pending.Watch(logs.say).start()


def temporary_folder():
    """The folder for temporary files of jobs on this machine, unless the user names another.

    Snakemake's own default is an expression, over which it takes long for each job.
    """
    default = by_default("tmpdir", "system_tmpdir")
    return {"tmpdir": tempfile.gettempdir()} if default == "system_tmpdir" else {}
