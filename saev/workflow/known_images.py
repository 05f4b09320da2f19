"""What is known of images that the workflow lists when it is parsed."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from saev.activations.recorded import recorded_digests
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import read_json, to_json, write_bytes, write_json
from saev.core.meta import META, RUN, read_meta, require_unaltered
from saev.core.plan_file import PLANS
from saev.images.artifact import (
    MANIFEST,
    PLACE,
    VOUCHED,
    manifest_summary,
    require_vouched,
    vouch,
    write_manifest,
)
from saev.images.artifact import STAGE as IMAGES
from saev.images.seen import Before, Seen, memory_name
from saev.images.sources.source import SPLITS, Source, passed_over
from saev.settings.component import completed, digest
from saev.settings.images import ImagesResolved
from saev.workflow.known_labels import Listings


class ListedImages(NamedTuple):
    """A source that was listed."""

    fingerprint: str
    n_images: int
    notes: dict[str, Any]
    """What was left out of the listing."""
    listings: Listings


def listed(
    name: str, essential: dict[str, Any], lies: dict[str, str], source: Source[Any], results: Path
) -> ListedImages:
    """List a source, unless its files are as they were. Say what was left out.

    Args:
        name: the entry of `images`; essential: its settings, without those that say where it lies.
        lies: these; source: the source.
        results: the folder of results.

    Raises:
        UserError: it can't be listed, or an image has vanished or has another content.
    """
    before = partial(_before, results, name, essential)
    seen = Seen(results / PLANS, memory_name(name, essential), source, before)
    fingerprint, listing = seen.look(partial(write_manifest, source=source))
    directory = _directory(name, essential, fingerprint)
    _say_where(results / directory / RUN, lies)
    kept = results / PLANS / f"{directory}.parquet"
    _forget_damaged(kept)
    if not kept.exists():
        write_manifest(kept, fingerprint, source)
        vouch(kept)
    n_images = manifest_summary(kept).n_images
    notes = _notes(kept, source)
    then = before(fingerprint).listing if listing else kept
    return ListedImages(fingerprint, n_images, notes, Listings(listing or kept, then))


def _directory(name: str, essential: dict[str, Any], fingerprint: str) -> str:
    resolved = ImagesResolved(fingerprint=fingerprint).essential()
    return f"{name}-{digest(completed(essential, resolved))}"


def _before(results: Path, name: str, essential: dict[str, Any], fingerprint: str) -> Before:
    """What was made of images under a fingerprint."""
    made = results / _directory(name, essential, fingerprint)
    complete = (made / META).is_file()
    kept = results / PLANS / f"{made.name}.parquet"
    return Before(
        made / MANIFEST if complete and (made / MANIFEST).exists() else kept,
        partial(recorded_digests, made),
        (made / META).stat().st_mtime_ns if complete else None,
        partial(_require_listing, made),
        read_json(made / RUN).get(PLACE) if (made / RUN).is_file() else None,
    )


def _notes(kept: Path, source: Source[Any]) -> dict[str, Any]:
    """What was left out of a listing, now or when it was made. Says it at every start."""
    path, notes = kept.with_suffix(".json"), source.notes()
    if not notes and path.exists():
        notes = read_json(path)
    elif notes and not (path.exists() and read_json(path) == notes):
        write_bytes(path, to_json(notes))
    left_out = passed_over(notes)
    if left_out:
        logs.say(f"{source.where}: passed over: {left_out}")
    splits = notes.get(SPLITS, {})
    if splits:
        held = ", ".join(f"{name} ({n:,} files)" for name, n in sorted(splits.items()))
        logs.say(
            f"{source.where} holds several splits, and all are taken: {held}. For one of them, "
            f"give a pattern such as {min(splits)}-*.parquet"
        )
    return notes


def _say_where(path: Path, lies: dict[str, str]) -> None:
    """Write down where images lie that were moved since they were listed."""
    run = read_json(path) if path.is_file() else {}
    if run.get(PLACE, lies) != lies:
        write_json(path, {**run, PLACE: lies})


def _forget_damaged(kept: Path) -> None:
    """Remove a listing that was altered, or whose notes can't be read, and say so. It is made
    again."""
    notes = kept.with_suffix(".json")
    if not kept.with_suffix(VOUCHED).exists():  # a start was killed before it wrote that
        kept.unlink(missing_ok=True)
    for path, read in ((kept, require_vouched), (notes, _notes_in)):
        try:
            if path.exists():
                read(path)
        except UserError:
            logs.say(f"{path} is damaged: listing the images again")
            notes.unlink(missing_ok=True)
            kept.unlink(missing_ok=True)


def _notes_in(path: Path) -> dict[str, Any]:
    """The notes on a listing.

    Raises:
        UserError: they are damaged.
    """
    notes = read_json(path)
    try:
        passed_over(notes)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no notes") from error
    return notes


def _require_listing(made: Path) -> None:
    """Refuse an altered manifest of images that were listed. One that was removed is made again."""
    if (made / META).is_file() and (made / MANIFEST).exists():
        files = read_meta(made, IMAGES)[0]["files"]
        require_unaltered(made, [entry for entry in files if entry["name"] == MANIFEST])
