"""The current settings, read and merged as `snakemake --configfile` does."""

from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.settings.yaml_file import require_yaml
from saev.workflow.configfiles import require_configfiles
from saev.workflow.plan import Plan, resolve

CONFIG = "config.yaml"


def load(configfiles: list[str]) -> dict[str, Any]:
    """Read `config.yaml` and merge ``configfiles`` into it in order, key by key; the last wins.

    Raises:
        UserError: a file is missing or isn't YAML, or there is none.
    """
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    require_settings(Path(), configfiles)
    settings: dict[str, Any] = {}
    for path in names(configfiles):
        require_yaml(path)
        try:
            update_config(settings, load_configfile(path))
        except Exception as error:
            raise UserError(f"{path} can't be read: {error}") from error
    return settings


def plan(configfiles: list[str], results: str) -> Plan:
    """The plan of the current settings.

    Raises:
        UserError: they have problems, or refer to something that doesn't exist.
    """
    return resolve(load(configfiles), results, configfiles)


def option(configfiles: list[str]) -> str:
    """What a command must be given to see the same settings, with a space before it."""
    return f" --configfile {' '.join(configfiles)}" if configfiles else ""


def described(configfiles: list[str]) -> str:
    """The names of the settings files, as text."""
    return " + ".join(names(configfiles))


def names(configfiles: list[str]) -> list[str]:
    """The settings files: `config.yaml`, if it is here, and ``configfiles``."""
    return [CONFIG, *configfiles] if Path(CONFIG).is_file() else configfiles


def require_settings(folder: Path, configfiles: list[str]) -> None:
    """Check that there are settings: `config.yaml` in ``folder``, or ``configfiles``.

    Raises:
        UserError: there are none, or one of ``configfiles`` is missing or isn't YAML.
    """
    require_configfiles(configfiles)
    if not configfiles and not (folder / CONFIG).is_file():
        where = "here" if folder == Path() else f"in {folder}"
        raise UserError(
            f"there is no {CONFIG} {where}: go to the folder with your settings, or make one: "
            "saev init DIR"
        )
