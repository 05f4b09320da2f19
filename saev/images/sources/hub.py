"""Data sets on the Hugging Face hub."""

import errno
import os
import re
from pathlib import Path
from typing import Any

from saev.images.sources.table import Table
from saev.settings.images import HubSettings

COMMIT = re.compile(r"^hf://datasets/[^@]+@([0-9a-f]{40})/")
"""The commit in the name of a file of the hub."""


class Hub(Table[HubSettings]):
    """A data set on the Hugging Face hub."""

    hint = (
        "Check the name, revision, split and network; or save the data set on another machine with "
        "save_to_disk and name its folder in `saved`"
    )

    @property
    def where(self) -> str:
        one = self.settings
        return f"{one.hub} ({one.config + ', ' if one.config else ''}{one.split}, {one.revision})"

    def fingerprint(self) -> str:
        return self.settings.revision

    def notes(self) -> dict[str, Any]:
        # A branch moves. `datasets` names each file by the commit that it comes from.
        files = self._images.info.download_checksums or {}
        commits = sorted({found[1] for name in files if (found := COMMIT.search(name))})
        return {"commit": ", ".join(commits)} if commits else {}

    @property
    def _base(self) -> Path:
        return Path()

    def _place(self, path: str) -> Path:
        import datasets
        import huggingface_hub.constants

        config = datasets.config
        folders = (
            config.HF_DATASETS_CACHE,
            config.HF_CACHE_HOME,
            huggingface_hub.constants.HF_HUB_CACHE,
        )
        inside = Path(os.path.normpath(path))
        if not any(inside.is_relative_to(Path(os.path.abspath(folder))) for folder in folders):  # noqa: PTH100
            raise OSError(errno.EPERM, "it lies outside of what was downloaded", path)
        return inside

    def _load(self) -> Any:
        import datasets

        one = self.settings
        return datasets.load_dataset(one.hub, one.config, split=one.split, revision=one.revision)
