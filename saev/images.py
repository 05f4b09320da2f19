"""The `images` stage: list the pictures of a folder, which gives each its row.

The main process lists folders whenever the workflow is parsed, so nothing heavy is imported here.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from saev import logs, stage
from saev.artifacts.images import GROUP_ROWS, MANIFEST, STAGE
from saev.artifacts.meta import write_meta
from saev.errors import UserError, listed
from saev.files import atomic_path
from saev.settings.images import ImagesSettings

# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp",
    ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".j2c",
    ".ico", ".icns", ".tga", ".pcx", ".psd", ".qoi", ".sgi", ".dds",
))
# fmt: on
"""Extensions of pictures that Pillow reads, in lower case."""

RAW = (
    *(".nef", ".cr2", ".cr3", ".crw", ".arw", ".dng"),
    *(".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"),
)
FOREIGN = {
    **dict.fromkeys(RAW, "camera raw"),
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".nii": "NIfTI",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".jxl": "JPEG XL",
    ".svg": "SVG",
    ".svgz": "SVG",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
}
"""Formats of pictures that Pillow doesn't read, by extension."""


@dataclass(frozen=True)
class Listing:
    """The pictures under a folder, in the order that gives them their rows."""

    keys: list[str]
    """Paths relative to the folder, with ``/``, sorted by code point."""
    sizes: list[int]
    """Bytes of each file."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Files that are no pictures, by extension."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over a line ``path NUL size`` for each picture: 64 hex digits."""
        total = hashlib.sha256()
        for key, size in zip(self.keys, self.sizes, strict=True):
            total.update(f"{key}\0{size}\n".encode())
        return total.hexdigest()

    def write(self, path: str | Path) -> None:
        """Write the listing as a parquet file of ``row``, ``key`` and ``bytes``: the manifest's form."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([("row", pa.int64()), ("key", pa.string()), ("bytes", pa.int64())])
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for start in range(0, len(self.keys), GROUP_ROWS):
                keys = self.keys[start : start + GROUP_ROWS]
                rows = list(range(start, start + len(keys)))
                sizes = self.sizes[start : start + GROUP_ROWS]
                writer.write_table(pa.table([rows, keys, sizes], schema), row_group_size=GROUP_ROWS)

    @staticmethod
    def read(path: str | Path) -> "Listing":
        """Read a listing that `write` has written.

        Raises:
            UserError: it is missing or unreadable.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path, columns=["key", "bytes"])
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"can't read the listing {path} ({error}): start the workflow again, which writes it"
            ) from error
        return Listing(table.column("key").to_pylist(), table.column("bytes").to_pylist())


def list_folder(folder: str | Path) -> Listing:
    """List the pictures of ``folder`` and its subfolders.

    Hidden files and folders are passed over. Links are followed, a link to a folder that it lies in
    isn't.

    Raises:
        UserError: there is no such folder, no picture in it, a picture of a format that can't be read
            here, or a name that isn't UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "doesn't exist"
        raise UserError(f"the folder of pictures {folder} {what}")
    found: list[tuple[str, int]] = []
    foreign: dict[str, list[str]] = {}
    ignored: Counter[str] = Counter()
    for key, size in _files(str(folder), "", frozenset()):
        extension = os.path.splitext(key)[1].lower()  # noqa: PTH122 (a Path a file is slow)
        if extension in EXTENSIONS:
            found.append((key, size))
        elif extension in FOREIGN:
            foreign.setdefault(FOREIGN[extension], []).append(key)
        else:
            ignored[extension] += 1
    _refuse(folder, foreign)
    if not found:
        kinds = ", ".join(f"{n:,} × {e or 'no extension'}" for e, n in ignored.most_common(5))
        raise UserError(
            f"there is no picture in {folder}"
            + (f"; it holds {kinds}" if kinds else "; it is empty")
            + ". Pictures are found by extension: .jpg, .png, .webp, .tif and the like"
        )
    found.sort()
    _refuse_odd_names(folder, found)
    return Listing([k for k, _ in found], [s for _, s in found], dict(ignored.most_common()))


def _files(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield relative path and size of each file that isn't hidden."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from _files(entry.path, f"{prefix}{entry.name}/", above | {here})
                elif entry.is_file():
                    yield prefix + entry.name, entry.stat().st_size
                elif entry.is_symlink():
                    raise UserError(f"{entry.path} is a link to nothing: mend or remove it")
    except OSError as error:
        raise UserError(f"can't list {folder}: {error.strerror}") from error


def _refuse(folder: Path, foreign: dict[str, list[str]]) -> None:
    if not foreign:
        return
    problems = [f"{name}: {len(keys):,}, such as {min(keys)}" for name, keys in foreign.items()]
    raise UserError(
        listed(sorted(problems), f"{folder} holds pictures of formats that can't be read:")
        + "\nConvert them to PNG, TIFF or JPEG, or move them out of the folder."
    )


def _refuse_odd_names(folder: Path, found: list[tuple[str, int]]) -> None:
    odd = []
    for key, _ in found:
        try:
            key.encode()
        except UnicodeEncodeError:
            odd.append(ascii(key))
    if odd:
        raise UserError(listed(odd, f"{folder} holds names that aren't UTF-8; rename them:"))


def main(arguments: list[str]) -> None:
    """Write the manifest of one set of pictures."""
    parser = stage.parser("List the pictures of a folder.")
    parser.add_argument("--listing", help="the listing taken when the workflow was parsed")
    parser.add_argument("--out", required=True, help="directory results/{images}")
    args = parser.parse_args(arguments)
    spec = stage.read_spec(args.spec)
    record = stage.Record(STAGE, spec, args.threads)
    given = dict(spec.settings)
    fingerprint = given.pop("fingerprint", None)
    settings = ImagesSettings.model_validate_json(json.dumps(given))

    if settings.version is None and args.listing:
        listing = Listing.read(args.listing)
    else:
        listing = list_folder(settings.folder)
    if fingerprint not in (None, listing.fingerprint):
        raise UserError(
            f"{settings.folder} isn't what it was when the workflow was started (pictures were added, "
            f"removed or changed): start it again"
        )
    if settings.n_images not in (None, len(listing.keys)):
        raise UserError(
            f"{settings.folder} holds {len(listing.keys):,} pictures, but n_images says "
            f"{settings.n_images:,}: correct n_images (and version, if the pictures have changed)"
        )
    out = Path(args.out)
    listing.write(out / MANIFEST)
    record.write(out, ignored=listing.ignored)
    write_meta(
        out,
        stage=STAGE,
        name=out.name,
        settings=spec.settings,
        inputs={},
        summary={
            "n_images": len(listing.keys),
            "bytes": sum(listing.sizes),
            "fingerprint": listing.fingerprint,
        },
        files=[MANIFEST],
    )
    logs.say(f"{settings.folder}: {len(listing.keys):,} pictures")


if __name__ == "__main__":
    stage.run(main)
