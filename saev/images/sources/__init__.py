"""Where images come from: a class for each source, behind one contract (`Source`)."""

from typing import Any

from saev.images.sources.folder import Folder
from saev.images.sources.hub import Hub
from saev.images.sources.parquet import Parquet
from saev.images.sources.saved import Saved
from saev.images.sources.source import Source
from saev.images.sources.tars import Tars
from saev.settings.images import ImagesSettings, source_of

# These modules import heavy libraries only when they read.
SOURCES: dict[str, type[Source[Any]]] = {
    "folder": Folder,
    "hub": Hub,
    "saved": Saved,
    "parquet": Parquet,
    "tars": Tars,
}


def open_source(settings: ImagesSettings) -> Source[Any]:
    """The source that ``settings`` name. Reads nothing yet."""
    return SOURCES[source_of(settings)](settings)
