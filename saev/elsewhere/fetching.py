"""Fetches dictionaries from the Hugging Face hub into its cache."""

import os
import re
from contextlib import suppress
from pathlib import Path

from saev.core import logs
from saev.core.errors import UserError
from saev.settings.elsewhere import HUB, ON_HUB


def fetched(checkpoint: str, where: str = "checkpoint", cached: bool = False) -> Path:
    """The path that the setting ``checkpoint`` stands for, fetched if it lies on the hub.

    Args:
        checkpoint: a path, or ``hf://owner/repo/path@revision``.
        where: the setting, for messages.
        cached: look only in the cache, as jobs do: their machine may have no network.

    Raises:
        UserError: the hub can't be reached, or has no such files.
    """
    found = ON_HUB.fullmatch(checkpoint)
    if not checkpoint.startswith(HUB) or found is None:
        return Path(checkpoint)
    repo, path, revision = found.groups()
    pinned = re.fullmatch("[0-9a-f]{40}", revision) is not None
    if pinned and not cached:
        # A commit never changes, so what the cache has of it is right.
        with suppress(UserError):
            at = _snapshot(repo, path, revision, where, True) / (path or "")
            if at.exists():
                return at
    at = _snapshot(repo, path, revision, where, cached) / (path or "")
    if not at.exists():
        raise UserError(
            f"{where}: {repo} has no file or folder {path!r} at the revision {revision}: look at "
            f"https://huggingface.co/{repo}/tree/{revision}"
        )
    return at


def _snapshot(repo: str, path: str | None, revision: str, where: str, cached: bool) -> Path:
    # This library takes seconds to import, and only names on the hub need it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = None if path is None else [path, f"{path}/*"]
    offline = cached or bool(os.environ.get("HF_HUB_OFFLINE"))
    if not offline:
        logs.say(f"{where}: looking for {HUB}{repo}@{revision} on the hub")
    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=patterns, local_files_only=offline
            )
        )
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{where}: {HUB}{repo}@{revision} isn't in the cache, and the hub can't be reached: "
            f"start the workflow where it can, or give the path of a copy",
            may_pass=True,
        ) from error
    except Exception as error:
        # The hub's client raises errors of several libraries.
        line = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where}: can't fetch {HUB}{repo}@{revision}: {line}. Check the name, the revision "
            f"and your access (hf auth login), or give the path of a copy",
            may_pass=True,
        ) from error
