"""What is known of labels when the workflow is parsed: mistakes in tables, corrections, groups."""

from pathlib import Path
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.core.files import canonical_json, sha256_file
from saev.core.plan_file import groups_name
from saev.labels.artifact import labels_folder
from saev.labels.table_files import require_columns
from saev.settings.component import completed
from saev.settings.labels import LabelSettings, LabelsResolved, LabelsSettings
from saev.workflow.hashes import Hashes

GROUPS = "saev.workflow.label_groups"


class Listings(NamedTuple):
    """Listings of images."""

    present: Path
    """Of the source as it is now."""
    then: Path
    """Of the day on which the images got their directory. Labels may have been corrected since."""


def labels_component(settings: LabelsSettings, resolved: LabelsResolved) -> dict[str, Any]:
    """What the plan knows of an analysis's labels, by the name of their directory.

    Analyses of the same images with equal labels share it.
    """
    essential = LabelsSettings(labels=settings.labels).essential()
    found = LabelsResolved(labels=resolved.labels).essential()
    name = labels_folder(Path(), completed(essential, found)["labels"]).name
    return {name: {"entry": name, "settings": essential, "resolved": found, "loose": {}}}


class Labels:
    """Looks at the labels of images, each time that something they depend on has changed.

    Args:
        hashes: remembers digests of files, and what was found in them.
        plans: the folder for what is found.
    """

    def __init__(self, hashes: Hashes, plans: Path) -> None:
        self.hashes, self.plans = hashes, plans

    def digest(
        self, where: str, label: str, source: LabelSettings, listings: Listings | None
    ) -> str | None:
        """SHA-256 of where a label comes from, if it isn't stated and not that of the manifest.

        Args:
            where: the analysis, for messages.
            label: its name; ``source``: where it comes from.
            listings: of the images; None if only a job lists them.

        Raises:
            UserError: its table or column is missing or doesn't fit the images.
        """
        if source.table is not None:
            self._check_table(where, label, source, listings)
            if source.sha256 is not None:
                return None
            return self.hashes.of_setting(f"{where}.labels.{label}.table", source.table)
        if listings is None:
            return None
        if source.folder:
            self._check_folders(where, label, listings.present)
        if source.source is None:
            return None
        # Arrow's readers start slowly, and a workflow without such labels doesn't need them.
        from saev.labels.source_labels import correction, require_brought

        require_brought(f"{where}.labels.{label}.source", source.source, listings.present)
        if listings.present == listings.then:
            return None
        return correction(listings.present, listings.then, source.source, self.plans)

    def groups(self, where: str, label: str, source: LabelSettings, listing: Path) -> str:
        """SHA-256 of the file that says which images have the same label.

        Args:
            where: the setting that asks for the groups, for messages.
            label: its name; ``source``: where it comes from.
            listing: the images as they are now.

        Raises:
            UserError: its table or column is missing or doesn't fit the images.
        """
        table = None
        if source.table is not None:
            if not Path(source.table).is_file():
                raise UserError(
                    f"{where}: {source.table}, the table of {label}, must be there when the "
                    f"workflow starts"
                )
            table = self.hashes.of(source.table)
        given = source.model_dump(mode="json")
        asked = canonical_json([self.hashes.module(GROUPS), given, label, table, listing.name])
        known = self.hashes.known.get(asked)
        path = self.plans / groups_name(known or "")
        if known is None or not path.is_file() or sha256_file(path) != known:
            from saev.workflow.label_groups import write_groups

            known = write_groups(where, label, source, listing, self.plans)
            self.hashes.known[asked] = known
        return known

    def _check_folders(self, where: str, label: str, listing: Path) -> None:
        """Look for folders among the images' keys, unless the same listing had some before."""
        asked = canonical_json(["folders", listing.name])
        if asked in self.hashes.known:
            return
        from saev.labels.join import check_folders

        try:
            check_folders(label, listing)
        except UserError as error:
            raise UserError(f"{where}.{error}") from error
        self.hashes.known[asked] = "found"

    def _check_table(
        self, where: str, label: str, source: LabelSettings, listings: Listings | None
    ) -> None:
        """Read a table with the images' keys, unless the same was read before.

        A table whose SHA-256 is stated may be made, or made again, by a rule.
        """
        path = str(source.table)
        if not Path(path).is_file():
            return
        sha256 = self.hashes.of(path)
        if source.sha256 not in (None, sha256):
            return
        column = source.column or label
        require_columns(f"{where}.labels.{label}.table: {path}", Path(path), source.key, column)
        present = listings.present if listings else None
        asked = canonical_json([sha256, source.key, column, present.name if present else ""])
        if asked in self.hashes.known:
            return
        from saev.labels.join import check_table

        try:
            check_table(label, source, present)
        except UserError as error:
            raise UserError(f"{where}.{error}") from error
        self.hashes.known[asked] = "fits"
