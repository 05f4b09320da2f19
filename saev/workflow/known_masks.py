"""What is known of masks when the workflow is parsed: whether they are there, and their digest."""

from saev.core.files import canonical_json
from saev.evaluate.mask_files import MaskFolder, require_folders
from saev.settings.evaluation import MaskSettings
from saev.workflow.hashes import Hashes


def masks_digest(where: str, settings: MaskSettings, hashes: Hashes) -> str:
    """SHA-256 of the masks in a folder. They are read again only if one of them has changed.

    Args:
        where: the setting that names the folder, for messages.

    Raises:
        UserError: the folder doesn't exist or holds no mask, or its folders aren't the classes.
    """
    masks = MaskFolder(where, settings.folder, settings.ending)
    if settings.pixels == "file":
        require_folders(settings)
    asked = canonical_json(["masks", masks.seen()])
    if asked not in hashes.known:
        hashes.known[asked] = masks.digest()
    return hashes.known[asked]
