"""An executor for tests: it runs jobs as a cluster's would, in Snakemakes of their own, but here.

It writes what each job asked for to the file `asked.jsonl`. Before it starts a job, it runs the
command `$BEFORE_JOBS`, if there is one.
"""

import json
import os
import subprocess
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def __post_init__(self):
        self.running = {}

    def run_job(self, job):
        info = SubmittedJobInfo(job, external_jobid=str(job.jobid))
        names = ("mem_mb", "runtime", "gpu", "nodes", "tasks_per_gpu")
        asked = {name: job.resources.get(name) for name in names}
        rules = sorted(job.rules)
        line = {"rules": rules, "threads": job.threads, "attempt": job.attempt, **asked}
        with Path("asked.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        subprocess.run(os.environ.get("BEFORE_JOBS", ""), shell=True, check=True)
        # Its output goes to a file on the node, which no user sees.
        with Path(f"stub-{job.jobid}.out").open("w") as output:
            self.running[info.external_jobid] = subprocess.Popen(
                ["bash", "-c", self.format_job_exec(job)], stdout=output, stderr=output
            )
        self.report_job_submission(info)

    async def check_active_jobs(self, active_jobs):
        for info in active_jobs:
            status = self.running[info.external_jobid].poll()
            if status is None:
                yield info
            elif status == 0:
                self.report_job_success(info)
            else:
                self.report_job_error(info, msg=f"the stub's job ended with {status}")

    def cancel_jobs(self, active_jobs):
        for info in active_jobs:
            self.running[info.external_jobid].terminate()
