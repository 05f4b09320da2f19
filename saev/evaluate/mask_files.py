"""Reads masks: images whose pixel values say which class lies where.

The workflow also looks at their folder when it is parsed, so this imports nothing heavy.
"""

from pathlib import Path

from saev.core.errors import UserError
from saev.core.files import sha256_bytes, sha256_file
from saev.images.sources.folder import list_folder
from saev.images.sources.source import names_and_sizes
from saev.settings.evaluation import MaskSettings


class MaskFolder:
    """The masks of a folder.

    Args:
        where: the setting that names it, for messages; folder: its path.
        ending: how the names of masks end.

    Raises:
        UserError: it doesn't exist, or holds no mask.
    """

    def __init__(self, where: str, folder: str, ending: str) -> None:
        if not Path(folder).is_dir():
            raise UserError(f"{where}: there is no folder {folder}")
        found = list_folder(folder, skip=True)
        self.folder = folder
        entries = zip(found.keys, found.sizes, found.times, found.inodes, strict=True)
        self.files = [entry for entry in entries if entry[0].endswith(ending)]
        """Path in the folder, bytes, time of the last change and inode of each, sorted."""
        if not self.files:
            raise UserError(f"{where}: no file in {folder} ends in {ending}")

    def seen(self) -> str:
        """Changes whenever a file was changed or moved. Reads no file."""
        about = ((f"{name}\0{time}\0{inode}", n) for name, n, time, inode in self.files)
        return names_and_sizes(about)

    def digest(self) -> str:
        """SHA-256 of the names and the contents. Reads all files."""
        lines = (f"{name}\0{sha256_file(Path(self.folder, name))}\n" for name, *_ in self.files)
        return sha256_bytes("".join(lines).encode())


def require_same_masks(settings: MaskSettings, found: str | None) -> None:
    """Check that masks are those that were meant.

    Args:
        found: SHA-256 of the masks that were there when the workflow started, unless the settings
            state it.

    Raises:
        UserError: they aren't.
    """
    folder, stated = settings.folder, settings.sha256
    here = MaskFolder("masks", folder, settings.ending).digest()
    if stated is not None and here != stated:
        raise UserError(
            f"the masks in {folder} have SHA-256 {here}, but the settings say {stated}: put back "
            f"the masks that were meant, or correct sha256 of the masks"
        )
    if stated is None and here != found:
        raise UserError(
            f"the masks in {folder} have changed since the workflow started: start it again"
        )


def require_folders(settings: MaskSettings) -> None:
    """Check that masks with a folder for each class have those that the settings name.

    Raises:
        UserError: one is missing, or there are others.
    """
    there = {path.name for path in Path(settings.folder).iterdir() if path.is_dir()}
    missing = [name for name in settings.classes if name not in there]
    if missing:
        raise UserError(
            f"the masks in {settings.folder} have no folder {missing[0]}, which `classes` names; "
            f"there are: {', '.join(sorted(there)) or 'none'}"
        )
    others = sorted(there - set(settings.classes))
    if others and settings.unnamed == "refuse":
        raise UserError(
            f"the masks in {settings.folder} have a folder {others[0]}, which is no class: name it "
            f"in `classes` of the masks, or set `unnamed: none` there to leave it out"
        )


def mask_key(key: str, ending: str) -> str:
    """Where the mask of the image called ``key`` lies in the folder."""
    folder, slash, name = key.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"{folder}{slash}{stem}{ending}"
