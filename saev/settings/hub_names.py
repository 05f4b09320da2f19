"""Names of repositories on the Hugging Face hub."""

import re

PART = r"(?!.*(\.\.|--))[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
TOWER = re.compile(rf"{PART}/{PART}(@[A-Za-z0-9][A-Za-z0-9._/-]*)?")
DATA_SET = re.compile(rf"{PART}(/{PART})?")
"""Some data sets of old have no owner."""
LONGEST = 96


def hub_name(given: str, prefix: str = "") -> str:
    """The name of a tower (with ``prefix``) or of a data set, as it is given.

    Raises:
        ValueError: there can't be one.
    """
    name = given.removeprefix(prefix)
    fits = (TOWER if prefix else DATA_SET).fullmatch(name)
    if not fits or len(name.partition("@")[0]) > LONGEST:
        commit = f" or {prefix}owner/name@commit" if prefix else ""
        raise ValueError(
            f"{given!r} can't be on the hub: write {prefix}owner/name{commit}, with letters "
            f"(a to z), digits, '-', '_' and '.'"
        )
    return given
