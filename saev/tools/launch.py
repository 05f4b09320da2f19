"""`saev run`: Snakemake on the workflow that belongs to this package, in the current folder."""

import argparse
import os
import signal
import sys
from pathlib import Path

from saev.tools.present import require_settings
from saev.workflow.digests import FILES

SNAKEFILE = "Snakefile"
LAUNCHED = "saev.tools.launched"


def launch(arguments: list[str]) -> None:
    """Become Snakemake. Returns only if it can't start.

    Args:
        arguments: those for Snakemake.

    Raises:
        UserError: there are no settings here.
    """
    command = command_of(arguments)
    # Jobs call `python`, which must be this one also if its environment isn't activated.
    paths = [str(Path(sys.executable).parent), *filter(None, [os.environ.get("PATH")])]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until Snakemake can answer Ctrl-C
    os.execve(sys.executable, command, {**os.environ, "PATH": os.pathsep.join(paths)})


def command_of(arguments: list[str]) -> list[str]:
    """Snakemake's command line: in a clone its own workflow, elsewhere that of this package.

    Adds `--cores all`, unless ``arguments`` say how many, or leave that to a profile or a cluster.

    Raises:
        UserError: there are no settings here.
    """
    reader = argparse.ArgumentParser(prog="saev run", add_help=False, allow_abbrev=False)
    reader.add_argument("--directory", "-d", default=".")
    reader.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    reader.add_argument("--snakefile", "-s")
    for names in (("--cores", "-c"), ("--jobs", "-j"), ("--executor", "-e")):
        reader.add_argument(*names, nargs="?", dest="sized", const="")
    reader.add_argument("--profile", "--workflow-profile", nargs="*", dest="sized")
    given, _ = reader.parse_known_args(arguments)
    require_settings(Path(given.directory), given.configfile)
    command = [sys.executable, "-m", LAUNCHED]
    if given.snakefile is None and not _is_clone(Path()):
        command += ["--snakefile", str(FILES / SNAKEFILE)]
    if given.sized is None and "SNAKEMAKE_PROFILE" not in os.environ:
        command += ["--cores", "all"]
    return [*command, *arguments]


def _is_clone(folder: Path) -> bool:
    return (folder / SNAKEFILE).is_file() and (folder / "saev/__init__.py").is_file()
