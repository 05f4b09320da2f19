#!/usr/bin/env python3
"""status.py NUMBER: print whether a job of Slurm is running, ended in success, or failed."""

import subprocess
import sys

FAILED = {
    *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}
"""Slurm has many other states for a job that may still succeed, such as STAGE_OUT or SIGNALING."""

shown = subprocess.run(
    ["scontrol", "-o", "show", "job", sys.argv[1]], capture_output=True, text=True, check=False
)
fields = dict(field.partition("=")[::2] for field in shown.stdout.split())
state = fields.get("JobState", "UNKNOWN")
if state == "UNKNOWN":
    # Slurm doesn't answer, or has forgotten the job. Its accounting remembers, if there is one. If
    # there is none, the job is tried again, and takes what it had finished.
    forgotten = "Invalid job id" in shown.stderr
    known = subprocess.run(
        ["sacct", "-X", "-n", "-P", "-o", "State", "-j", sys.argv[1]],
        capture_output=True,
        text=True,
        check=False,
    )
    state = (known.stdout.split() or ["FAILED" if forgotten else "PENDING"])[0]
print("success" if state == "COMPLETED" else "failed" if state in FAILED else "running")
