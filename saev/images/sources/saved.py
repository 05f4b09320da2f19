"""Data sets that the library `datasets` saved in a folder."""

from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.images.sources.table import TableInFiles
from saev.settings.images import SavedSettings


class Saved(TableInFiles[SavedSettings]):
    """A folder written by `save_to_disk`."""

    @property
    def where(self) -> str:
        return self.settings.saved

    def _files(self) -> tuple[Path, list[str]]:
        folder = Path(self.where)
        if not folder.is_dir():
            raise UserError(f"saved: there is no folder {folder}")
        found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return folder, [name for name in found if not Path(name).name.startswith(".")]

    def _load(self) -> Any:
        import datasets

        found = datasets.load_from_disk(self.where)
        if not isinstance(found, datasets.DatasetDict):
            return found
        if self.settings.split not in found:
            raise UserError(
                f"{self.where} has no split {self.settings.split!r}; its splits are: "
                f"{', '.join(found)}. Name one in `split`."
            )
        return found[self.settings.split]
