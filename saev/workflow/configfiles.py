"""What Snakemake needs before it reads any file of the workflow but its profile.

It reads the files after `--configfile` and makes a folder for its cache, and shows its own code if
it can't. So the profiles call `answer`.
"""

import argparse
import sys
import tempfile
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


def require_cache() -> None:
    """Check that Snakemake can write its cache.

    Raises:
        UserError: it can't.
    """
    from snakemake.common import get_appdirs  # takes a second, and `saev run` needs none

    folder = Path(get_appdirs().user_cache_dir, "snakemake", "source-cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"Snakemake can't write its cache in {folder} ({error.strerror}): name another folder "
            f"in $XDG_CACHE_HOME, for example with export XDG_CACHE_HOME=$PWD/.cache"
        ) from error


def answer() -> None:
    """End this program with one line if Snakemake can't start.

    This package may be another one than that beside the Snakefile, which is read later and must
    find its own. So it is forgotten.
    """
    try:
        require_cache()
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
