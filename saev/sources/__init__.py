"""Where pictures come from: a class for each kind of source, behind one contract (`Source`)."""

from saev.settings.images import ImagesSettings
from saev.sources.base import Source


def open_source(settings: ImagesSettings) -> Source:
    """The source that settings name; nothing is read yet."""
    if settings.folder is not None:
        from saev.sources.folder import Folder

        return Folder(settings)
    if settings.tars is not None:
        from saev.sources.tars import Tars

        return Tars(settings)
    from saev.sources.tables import TableSource

    return TableSource(settings)
