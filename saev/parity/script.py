"""Stages that are a command of the user's, such as a script from before there was a workflow."""

import shlex
import string
import subprocess
from collections.abc import Mapping
from pathlib import Path

from saev.core.errors import UserError
from saev.core.files import write_bytes
from saev.workflow import jobs
from saev.workflow.plan import Plan
from saev.workflow.stages import behind

OUT = "out"


def commands_of(given: list[str], stages: tuple[str, ...]) -> dict[str, str]:
    """Parse ``STAGE=COMMAND``.

    Args:
        given: as the user wrote them.
        stages: those of the run.

    Raises:
        UserError: there is no such stage, or a command names something else than its inputs.
    """
    found = {}
    for text in given:
        stage, _, command = text.partition("=")
        if stage not in stages[1:] or not command:
            raise UserError(
                f"--command {text}: must be STAGE=COMMAND with one of {', '.join(stages[1:])}"
            )
        allowed = {*behind(stage) - {stage}, OUT}
        try:
            named = {field for _, field, _, _ in string.Formatter().parse(command) if field}
        except ValueError as error:
            raise UserError(f"--command {stage}: {error}: write {{{{ and }}}} for braces") from None
        if named - allowed or OUT not in named:
            raise UserError(
                f"--command {stage}: must name {{{OUT}}}, the folder to write into, and may name "
                f"the folders {', '.join(f'{{{name}}}' for name in sorted(allowed - {OUT}))}"
            )
        found[stage] = command
    return found


def run_command(command: str, inputs: Mapping[str, Path], out: Path, log: Path) -> bool:
    """Run a command in the present folder; return whether it succeeded.

    Args:
        command: with ``{activations}`` for the folder of that result, and ``{out}``.
        inputs: folders of results, by stage.
        out: folder that it writes into; it exists.
        log: file for what it says.
    """
    out.mkdir(parents=True, exist_ok=True)
    places = {name: shlex.quote(str(path)) for name, path in {**inputs, OUT: out}.items()}
    with log.open("w") as said:
        done = subprocess.run(
            command.format(**places), shell=True, stdout=said, stderr=said, check=False
        )
    return done.returncode == 0


def stamp_results(plan: Plan, stage: str) -> None:
    """Write the stamps of a stage, so that Snakemake takes what a command wrote as made."""
    for job in jobs.of_stage(plan, stage):
        write_bytes(job.stamp, b"")
