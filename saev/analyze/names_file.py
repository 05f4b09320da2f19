"""Names of latents that a person or a model gave, from a CSV file.

The page can save such a file. The columns ``dictionary`` (``images/vit/sae``, the folders of the
dictionary under results/), ``latent`` and ``name`` are needed; ``note`` and ``author`` aren't.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError, listed
from saev.core.files import canonical_json, sha256_bytes

NEEDED = ("dictionary", "latent", "name")
KNOWN = (*NEEDED, "note", "author", "star")
MORE = "…"
"""Key of the fields beyond those of the heading."""
FEWEST_NAMES = 5
"""A name is scored by ranking it among as many."""


class GivenName(NamedTuple):
    """A row of the file."""

    line: int
    dictionary: str
    latent: int
    name: str
    note: str
    author: str


def read_names(where: str, path: Path) -> list[GivenName]:
    """The rows of a file of names. Rows without a name and a note are left out.

    Args:
        where: the setting that names it, for messages.

    Raises:
        UserError: it isn't there, isn't CSV in UTF-8, lacks a column, has one that isn't known, or
            a row has no whole number as its latent, too many fields, or another name for a latent
            that its author has named before.
    """
    if not path.is_file():
        raise UserError(f"{where}: there is no file {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            heading = file.readline()
            separator = next((one for one in (",", ";", "\t") if one in heading), ",")
            file.seek(0)
            reader = csv.DictReader(file, None, MORE, "", delimiter=separator, strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (ValueError, OSError, csv.Error) as error:
        raise UserError(f"{where}: {path} isn't a CSV table in UTF-8: {error}") from error
    if not columns:
        raise UserError(f"{where}: {path} isn't a CSV table in UTF-8: it is empty")
    missing = [name for name in NEEDED if name not in columns]
    unknown = [name for name in columns if name not in KNOWN]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
        raise UserError(
            f"{where}: {path} {wrong}; needed: {', '.join(NEEDED)}; allowed: {', '.join(KNOWN)}"
        )
    return list(_rows(where, path, rows))


def _rows(where: str, path: Path, rows: list[tuple[int, dict[str, str]]]) -> Iterator[GivenName]:
    problems = []
    by: dict[tuple[str, int, str], GivenName] = {}
    for line, row in rows:
        if any(row.get(MORE, "")):
            problems.append(
                f"line {line}: it has more fields than the heading: put texts in quotes"
            )
            continue
        told = {name: row.get(name, "").strip() for name in KNOWN}
        if not told["name"] and not told["note"]:
            continue
        if not told["latent"].isdecimal() or not told["latent"].isascii():
            problems.append(f"line {line}: latent {told['latent']!r} is no whole number")
            continue
        latent = int(told["latent"])
        dictionary = told["dictionary"].strip("/").removeprefix("results/")
        one = GivenName(line, dictionary, latent, told["name"], told["note"], told["author"])
        first = by.setdefault((dictionary, latent, one.author), one) if one.name else one
        if first.name != one.name:
            problems.append(
                f"line {line}: latent {latent} has the name {first.name!r} in line {first.line}, "
                f"by the same author"
            )
        yield one
    if problems:
        raise UserError(listed(problems, f"{where}: {path} has rows that can't be read:", 5))


def require_latents(where: str, found: list[GivenName], sizes: Mapping[str, int]) -> str:
    """What to say about names that no run shows; empty if all are shown.

    Args:
        where: the setting, for messages.
        sizes: number of latents of each dictionary that the names may be for.

    Raises:
        UserError: a dictionary has no such latent.
    """
    problems = [
        f"line {one.line}: {one.dictionary} has {sizes[one.dictionary]:,} latents, from 0, so no "
        f"{one.latent}"
        for one in found
        if one.latent >= sizes.get(one.dictionary, one.latent + 1)
    ]
    if problems:
        raise UserError(listed(problems, f"{where}: there are no such latents:", 5))
    others = sorted({one.dictionary for one in found} - set(sizes))
    if not others:
        return ""
    n = sum(one.dictionary in others for one in found)
    return (
        f"{where}: {n:,} of {len(found):,} names are for dictionaries that no run has with this "
        f"analysis, such as {others[0]}; they have {', '.join(sizes)}"
    )


def distinct(found: list[GivenName], dictionary: str) -> list[tuple[int, str]]:
    """The names of the latents of a dictionary, each once: latent and name, sorted."""
    here = {(one.latent, one.name) for one in found if one.dictionary == dictionary and one.name}
    return sorted(here)


def digest_of(named: list[tuple[int, str]]) -> str:
    """SHA-256 of what `distinct` gives."""
    return sha256_bytes(canonical_json(named).encode())


def n_texts(named: list[tuple[int, str]]) -> int:
    """How many different names there are, whatever the case of their letters."""
    return len({name.casefold() for _, name in named})
