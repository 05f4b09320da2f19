"""The present settings, read and merged as `snakemake --configfile` does."""

from pathlib import Path
from typing import Any

from saev.errors import UserError
from saev.plan import Plan, resolve

CONFIG = "config.yaml"


def load(configfiles: list[str]) -> dict[str, Any]:
    """Read `config.yaml`, and over it ``configfiles`` in their order: recursively, the later wins.

    Raises:
        UserError: a file is missing or isn't YAML.
    """
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    settings: dict[str, Any] = {}
    for path in (CONFIG, *configfiles):
        if not Path(path).is_file():
            raise UserError(
                f"there is no file {path}: call saev in the folder that snakemake is called in"
            )
        try:
            update_config(settings, load_configfile(path))
        except Exception as error:
            raise UserError(f"{path} can't be read: {error}") from error
    return settings


def plan(configfiles: list[str], results: str) -> Plan:
    """What the present settings lead to.

    Raises:
        UserError: they have problems, or what they refer to isn't there.
    """
    return resolve(load(configfiles), results)


def described(configfiles: list[str]) -> str:
    """The files that settings come from, as text."""
    return " + ".join((CONFIG, *configfiles))
