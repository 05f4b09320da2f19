"""The settings files on a command line of Snakemake, checked before Snakemake reads them.

Snakemake reads the files after `--configfile` before any file of the workflow but its profile, and
shows its own code if one is missing. So the profiles call `answer`.
"""

import argparse
import sys
from pathlib import Path

from saev.core import logs
from saev.core.errors import UserError
from saev.settings.yaml_file import require_yaml


def reader() -> argparse.ArgumentParser:
    """Reads ``configfile`` off a command line of Snakemake."""
    one = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    one.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    return one


def require_configfiles(paths: list[str]) -> None:
    """Check the files after `--configfile`.

    Raises:
        UserError: one is missing or isn't YAML.
    """
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"--configfile: there is no file {path}")
        require_yaml(path)


def answer() -> None:
    """End this program with one line if a file after `--configfile` can't be read.

    This package may be another one than that beside the Snakefile, which is read later and must
    find its own. So it is forgotten.
    """
    try:
        given, _ = reader().parse_known_args(sys.argv[1:])
        require_configfiles(given.configfile)
    except argparse.ArgumentError:
        pass  # Snakemake says what is wrong with the command line
    except UserError as error:
        logs.start()
        logs.say(f"error: {error}")
        sys.exit(1)
    for name in [name for name in sys.modules if name.partition(".")[0] == "saev"]:
        del sys.modules[name]
