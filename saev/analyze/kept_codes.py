"""The codes that an analysis keeps: which latents fire on each vector, and how strongly.

Each part writes its own into `codes/`, unless they are too large. Pages and evaluations read them,
and encode the images of parts without them again, which gives the same. So no result depends on
them: they may be deleted at any time, and damaged ones aren't read.
"""

import io
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.activations.artifact import Activations, Stream
from saev.analyze.artifact import (
    PART,
    Analysis,
    codes_counts,
    codes_entries,
    codes_json,
    n_parts,
)
from saev.analyze.mapped import mapped, release
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import atomic_path, file_entry, read_json, write_json
from saev.core.meta import altered_files
from saev.train.artifact import STAGE as TRAIN

FORMAT = 1
"""Of the files. Codes of another format aren't read."""
COUNT = np.dtype("<u4")
ENTRIES_AT_ONCE = 1 << 20
"""Roughly how many entries are read at once."""


def identity(inputs: dict[str, str], start: int, stop: int) -> dict[str, Any]:
    """What codes are of.

    Args:
        inputs: SHA-256 of the `meta.json` of earlier stages, by stage.
        start, stop: range of the listing.
    """
    kept = {stage: inputs[stage] for stage in (TRAIN, ACTIVATIONS)}
    return {"format": FORMAT, "inputs": kept, "start": start, "stop": stop}


def entry_type(n_latents: int) -> np.dtype:
    """Type of an entry: 6 bytes, or 8 for more than 65,536 latents."""
    return np.dtype([("latent", "<u2" if n_latents <= 1 << 16 else "<u4"), ("value", "<f4")])


class GrowingArray:
    """Writes an `.npy` file piece by piece.

    Args:
        path: the file; dtype: type of its entries.
    """

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self.dtype, self.length = path, dtype, 0
        path.write_bytes(self._header((0,)))

    def add(self, values: np.ndarray) -> None:
        """Append values (m,)."""
        with self.path.open("ab") as file:
            file.write(values.astype(self.dtype, copy=False).tobytes())
        self.length += len(values)

    def finish(self, *inner: int) -> None:
        """Complete the file. Its array has the shape (…, *inner)."""
        header = self._header((self.length // int(np.prod(inner, dtype=np.int64)), *inner))
        with self.path.open("r+b") as file:
            file.write(header)

    def _header(self, shape: tuple[int, ...]) -> bytes:
        file = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.dtype)
        described = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, described)
        return file.getvalue()


class CodesWriter:
    """Writes the codes of one part.

    Args:
        folder: a folder that only this job uses.
        n_latents: number of latents; n_patches: vectors of an image.
        limit: largest size in bytes. Codes that need more aren't kept.
    """

    def __init__(self, folder: Path, n_latents: int, n_patches: int, limit: float) -> None:
        self.n_patches, self.limit, self.bytes = n_patches, limit, 0
        self.entries = GrowingArray(folder / "entries.npy", entry_type(n_latents))
        self.counts = GrowingArray(folder / "counts.npy", COUNT)

    @property
    def kept(self) -> bool:
        """Whether they aren't too large so far."""
        return self.bytes < self.limit

    def add(self, n_active: np.ndarray, latents: np.ndarray, values: np.ndarray) -> None:
        """Take the next vectors, in row order.

        Args:
            n_active: (b,) int64, how many latents fire on each.
            latents: (m,) int64, those of the first vector, then those of the second, …;
            values: (m,) float32.
        """
        self.bytes += self.entries.dtype.itemsize * len(latents) + COUNT.itemsize * len(n_active)
        if self.kept:
            entries = np.empty(len(latents), self.entries.dtype)
            entries["latent"], entries["value"] = latents, values
            self.entries.add(entries)
            self.counts.add(n_active)

    def finish(self, out: Path, part: int, about: dict[str, Any]) -> None:
        """Put the files into the directory of the analysis, or say that they are too large.

        Args:
            out: the directory; part: number of the part.
            about: of `identity`.
        """
        if not self.kept:
            if self.limit:
                logs.say(
                    f"part {part} keeps no codes: they need {_gib(self.bytes)}, and its share "
                    f"of codes_gib is {_gib(self.limit)}. Pages encode its images again"
                )
            return
        self.entries.finish()
        self.counts.finish(self.n_patches)
        names = {codes_entries(part): self.entries.path, codes_counts(part): self.counts.path}
        for name, path in names.items():
            with atomic_path(out / name) as temporary:
                path.replace(temporary)
        files = [file_entry(out / name, name) for name in names]
        write_json(out / codes_json(part), {**about, "files": files})


def _gib(n: float) -> str:
    return f"{n / (1 << 30):.3g} GiB"


def remove_codes(out: Path, part: int) -> None:
    """Remove the codes of a part that is made again."""
    for name in (codes_json(part), codes_entries(part), codes_counts(part)):
        (out / name).unlink(missing_ok=True)


class PartCodes(NamedTuple):
    """The codes of one part."""

    rows: np.ndarray
    """(r,) int64 row ids of its images, ascending."""
    starts: np.ndarray
    """(r + 1,) int64: the entries of image i are those from ``starts[i]`` to ``starts[i + 1]``."""
    counts: np.ndarray
    """(r, patches) uint32: how many latents fire on each vector."""
    entries: np.ndarray
    """(m,) of `entry_type`, ascending by vector, then by latent."""

    @property
    def images_at_once(self) -> int:
        """How many images to take at once, so that memory is bounded."""
        return max(1, ENTRIES_AT_ONCE * len(self.rows) // max(1, len(self.entries)))

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What fires on images (i,), given as row ids.

        Returns:
            vector (m,) int64, ``image * patches + patch``, where ``image`` is an index into
            ``rows``; latent (m,) int64; and value (m,) float32. Ordered as ``rows``, then by
            vector and latent.
        """
        at = np.searchsorted(self.rows, rows)
        parts = [self.entries[self.starts[i] : self.starts[i + 1]] for i in at.tolist()]
        found = np.concatenate([self.entries[:0], *parts])
        counts = self.counts[at].reshape(-1)
        release(self.entries)
        release(self.counts)
        vector = np.repeat(np.arange(len(counts)), counts)
        return vector, found["latent"].astype(np.int64), np.ascontiguousarray(found["value"])


class KeptCodes:
    """Reads the codes that an analysis keeps, part by part.

    Args:
        analysis: the analysis; activations, stream: what it looked at.
        part_images: number of listed images in a part.
    """

    def __init__(
        self, analysis: Analysis, activations: Activations, stream: Stream, part_images: int = PART
    ) -> None:
        self.analysis, self.activations, self.stream = analysis, activations, stream
        self.part_images = part_images
        self.part = cache(self._part)
        """The codes of a part, by its number; None if there are none. Each is checked once."""
        n = n_parts(activations.n_images, part_images)
        lacking = sum(not (analysis.path / codes_json(number)).exists() for number in range(n))
        if lacking:
            logs.say(f"{lacking:,} of {n:,} parts keep no codes: their images are encoded again")

    def _part(self, number: int) -> PartCodes | None:
        folder = self.analysis.path
        start = number * self.part_images
        stop = min(start + self.part_images, self.activations.n_images)
        if not (folder / codes_json(number)).exists():
            return None
        try:
            self._require(number, start, stop)
        except UserError as error:
            logs.say(f"the codes of part {number} aren't used, so it is encoded again: {error}")
            return None
        rows = self.activations.rows(start, stop)
        counts = mapped(folder / codes_counts(number))
        starts = np.concatenate([[0], np.cumsum(counts.sum(1, dtype=np.int64))])
        return PartCodes(rows, starts, counts, mapped(folder / codes_entries(number)))

    def _require(self, number: int, start: int, stop: int) -> None:
        """Refuse codes that were made from something else, or altered since."""
        content = read_json(self.analysis.path / codes_json(number))
        wanted = identity(self.analysis.meta["inputs"], start, stop)
        try:
            known = {key: content[key] for key in wanted} == wanted
            listed = [entry["name"] for entry in content["files"]]
            known = known and listed == [codes_entries(number), codes_counts(number)]
            problems = altered_files(self.analysis.path, content["files"], deep=True)
        except (KeyError, TypeError):
            known, problems = False, []
        if not known or problems:
            what = "they were made from something else, or their description was altered"
            raise UserError("; ".join(problems) or what)
