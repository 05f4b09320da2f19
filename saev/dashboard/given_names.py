"""Writes names that people gave to latents, and their scores, beside the page."""

from pathlib import Path

from saev.analyze.names_file import GivenName, digest_of, distinct, read_names
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_file, write_bytes
from saev.dashboard import artifact as names
from saev.dashboard.scripts import rounded, script
from saev.dashboard.structures import GivenNamed, NameScore
from saev.evaluate.artifact import SCORES
from saev.settings.pages import BesideSettings


def write_given(out: Path, dictionary: str, settings: BesideSettings) -> None:
    """Write the names for a dictionary beside its page, in ``out``; none without a file of names.

    Raises:
        UserError: the file was changed since the workflow started.
    """
    found: list[GivenName] = []
    if settings.names is not None:
        path = Path(settings.names)
        found = read_names("analysis.names", path)
        if sha256_file(path) != settings.sha256:
            raise UserError(f"{path} was changed since the workflow started: start it again")
    given: list[GivenNamed] = [
        {"latent": one.latent, "name": one.name, "note": one.note, "author": one.author}
        for one in found
        if one.dictionary == dictionary
    ]
    sha256 = digest_of(distinct(found, dictionary))
    scored = _scored(out, sha256) if settings.score_names else {}
    for one in given:
        score = scored.get((one["latent"], one["name"]))
        if score is not None:
            one["score"] = score
    write_bytes(out / names.GIVEN, script("given", given))


def _scored(out: Path, sha256: str) -> dict[tuple[int, str], NameScore]:
    """The scores beside a page; none if they are of other names than those with this SHA-256."""
    path = out / SCORES
    found = read_json(path) if path.is_file() else {}
    if found.get("sha256") != sha256:
        return {}
    return {
        (one["latent"], one["name"]): {
            "n": one["n"],
            "hits": one["hits"],
            "interval": one["interval"] and [rounded(end) or 0.0 for end in one["interval"]],
            "fewest": found["fewest"],
        }
        for one in found["scores"]
    }
