"""Memory of a source's files, by which a start of the workflow notices what was replaced.

A file can be replaced by another of the same name and size, and to read all files at each start
would take too long. So the memory keeps the time of the last change and the inode of each file.
saev looks at a file again only if these differ, and then its content decides. If the images in it
are those that were recorded, the fingerprint stays. If not, the content becomes part of the
fingerprint, so that the images get a new directory. Labels don't count here: they belong to the
analysis.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.compute as pc
import pyarrow.parquet

from saev.core import logs
from saev.core.files import canonical_json, sha256_bytes, write_bytes
from saev.images.sources.source import GROUP_ROWS, Entry, Source
from saev.settings.component import digest
from saev.settings.images import place

ABOUT = b"saev.about"
LINE = "line"
FILES = pyarrow.schema(
    [("name", pyarrow.string()), *((n, pyarrow.int64()) for n in ("size", "mtime_ns", "inode"))]
)

Recorded = Callable[[list[int]], dict[int, str]]
"""SHA-256 of images by row, for those of the given rows that were recorded."""


class Before(NamedTuple):
    """What was made of the images under a fingerprint."""

    listing: Path
    """Their listing. It may be missing."""
    recorded: Recorded
    made_ns: int | None
    """When they were listed, in ns; None if they weren't."""
    require: Callable[[], None]
    """Raises a UserError if their listing was altered."""
    place: dict[str, str] | None = None
    """Where they lay; None if that isn't known."""


class Memory(NamedTuple):
    """What a start of the workflow saw."""

    files: pyarrow.Table
    """`FILES`, and the ``line`` of each in the fingerprint."""
    fingerprint: str
    """SHA-256 over the lines. If no file was replaced, it is that of `names_and_sizes`."""
    contents: dict[str, dict[str, str]]
    """Of files that were replaced: the line for each content that they had, by name and content."""
    listing: str | None
    """Name of the present listing, if files were written again."""


def memory_name(entry: str, settings: dict[str, Any]) -> str:
    """How files begin that hold the memories of an entry with these settings, wherever it lies."""
    return f"seen.{digest([entry, settings])}"


class Seen:
    """The memory of one source.

    Args:
        folder: where it lies, and the listings that it makes.
        name: how its file begins, from `memory_name`.
        source: the source.
        before: what was made under a fingerprint.
    """

    def __init__(
        self, folder: Path, name: str, source: Source[Any], before: Callable[[str], Before]
    ) -> None:
        self.place = place(source.settings)
        self.path = folder / f"{name}.{digest(self.place)}.seen"
        self.moved = f"{name}.{'?' * 8}.seen"
        self.source, self.before = source, before

    def look(self, list_images: Callable[[Path, str], None]) -> tuple[str, Path | None]:
        """Look at the files of the source.

        Args:
            list_images: writes the present listing to a path, with a text in place of it.

        Returns:
            the fingerprint; and the present listing, if files were written again. Its images are
            those of the fingerprint, but its labels may differ from those in the listing of that
            time.

        Raises:
            UserError: the source is missing, or something in it can't be used.
        """
        files = self.source.files()
        now = pyarrow.table(dict(zip(files._fields, files, strict=True)), schema=FILES)
        known = self._read(self.path) or self._elsewhere(now) or self._assumed(now)
        if known is None:
            memory = _memory(_with_lines(now))
        elif known.files.drop_columns(LINE).equals(now):
            memory = known
        else:
            memory = self._compared(known, now, list_images)
        fingerprint = memory.fingerprint
        if memory is not known or not self.path.exists():
            self._write(memory)
            if known is not None and known.listing not in (None, memory.listing):
                self.path.with_name(str(known.listing)).unlink(missing_ok=True)
        return fingerprint, self.path.with_name(memory.listing) if memory.listing else None

    def _compared(
        self, known: Memory, now: pyarrow.Table, list_images: Callable[[Path, str], None]
    ) -> Memory:
        """What is known after a look at the files that were written again."""
        places = pc.index_in(now.column("name"), value_set=known.files.column("name"))
        old = known.files.take(places.combine_chunks())  # a row of nulls for a new file
        again = pc.and_(
            pc.is_valid(places),
            pc.invert(pc.fill_null(_all_equal(now, old, ("size", "mtime_ns", "inode")), False)),
        )
        lines = old.column(LINE).to_pylist()
        changed = now.append_column("at", pyarrow.array(range(len(now)))).filter(again).to_pylist()
        if not changed:
            return _memory(_with_lines(now, lines), known.contents)
        logs.say(
            f"{self.source.where}: {len(changed):,} files were written again since the last look; "
            f"comparing what is in them"
        )
        listing = self.path.with_name(f"{self.path.stem}.{_digest(now)[:16]}.parquet")
        if not listing.exists():
            list_images(listing, "")
        before = self.before(known.fingerprint)
        before.require()
        names = {row["name"] for row in changed}
        was = self.source.images_in(names, before.listing) if before.listing.exists() else None
        is_now = self.source.images_in(names, listing)
        recorded = before.recorded([e.row for held in (was or {}).values() for e in held])
        contents = {name: dict(kept) for name, kept in known.contents.items()}
        for row in changed:
            name, at = row["name"], row["at"]
            had = was.get(name, []) if was is not None else None
            line, found = self._judged(
                _line(row),
                lines[at],
                had,
                is_now.get(name, []),
                {e.row: recorded[e.row] for e in had or () if e.row in recorded},
                before.made_ns is not None,
                contents.get(name, {}),
            )
            lines[at] = line
            if found:
                contents[name] = contents.get(name, {}) | found
        return _memory(_with_lines(now, lines), contents, listing.name)

    def _judged(
        self,
        plain: str,
        line: str,
        was: list[Entry] | None,
        is_now: list[Entry],
        recorded: dict[int, str],
        made: bool,
        known_lines: dict[str, str],
    ) -> tuple[str, dict[str, str]]:
        """The line of a file that was written again, and what is known about contents from now on.

        Args:
            plain: the file's name and size; its ``line`` until now.
            was, is_now: the images in it, before and now.
            recorded: SHA-256 of those that were recorded before, by row.
            made: whether anything was made of the images before.
            known_lines: lines of its known contents.
        """
        same_layout = was is not None and list(map(_layout, was)) == list(map(_layout, is_now))
        if not known_lines and not recorded and (same_layout or not made):
            return plain, {}  # nothing was made of its content
        digests = [self._sha256(entry) for entry in is_now]
        content = _content(is_now, digests)
        if content in known_lines:
            return known_lines[content], {}
        if same_layout and was is not None:
            pairs = zip(was, digests, strict=True)
            differs = any(recorded.get(e.row, digest) != digest for e, digest in pairs)
            if recorded and not differs:
                return line, {content: line}
        found = {content: f"{plain}\0{content}"}
        if was and len(recorded) == len(was):
            found[_content(was, [recorded[entry.row] for entry in was])] = line
        return found[content], found

    def _sha256(self, entry: Entry) -> str:
        try:
            return sha256_bytes(self.source.read(entry))
        except OSError as error:
            return f"unreadable: {error.strerror}"

    def _elsewhere(self, now: pyarrow.Table) -> Memory | None:
        """The memory of the same files in another place: they were moved, or have other names."""
        for path in sorted(self.path.parent.glob(self.moved)):
            known = self._read(path) if path != self.path else None
            if known and known.listing is None and known.files.drop_columns(LINE).equals(now):
                return known
        return None

    def _assumed(self, now: pyarrow.Table) -> Memory | None:
        """Without a memory, files that are older than what was made of them count as unchanged.

        In another place, only their content tells.
        """
        plain = _memory(_with_lines(now))
        before = self.before(plain.fingerprint)
        if before.made_ns is None:
            return None
        unchanged_until = before.made_ns if before.place in (None, self.place) else -1
        later = pc.greater(now.column("mtime_ns"), unchanged_until)
        times = pc.if_else(later, -1, now.column("mtime_ns"))
        at = FILES.get_field_index("mtime_ns")
        return plain._replace(files=plain.files.set_column(at, FILES.field(at), times))

    def _read(self, path: Path) -> Memory | None:
        try:
            sha256, _, data = path.read_bytes().partition(b"\n")
            if sha256_bytes(data).encode() != sha256:
                logs.say(f"{path} is damaged: looking at the files as if for the first time")
                return None
            table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
            about = json.loads(table.schema.metadata[ABOUT])
            listing = about["listing"]
            if listing is not None and not self.path.with_name(listing).exists():
                return None
            files = table.replace_schema_metadata(None)
            return Memory(files, about["fingerprint"], about["contents"], listing)
        except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError):
            return None  # the first look, or a memory that was removed

    def _write(self, memory: Memory) -> None:
        about = canonical_json(
            {name: value for name, value in memory._asdict().items() if name != "files"}
        )
        table = memory.files.replace_schema_metadata({ABOUT: about.encode()})
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink)
        data = sink.getvalue().to_pybytes()
        write_bytes(self.path, f"{sha256_bytes(data)}\n".encode() + data)


def _with_lines(files: pyarrow.Table, lines: list[str | None] | None = None) -> pyarrow.Table:
    """Add the column of lines; where there is none, it is the file's name and size."""
    sizes = files.column("size").cast(pyarrow.string())
    plain = pc.binary_join_element_wise(files.column("name"), sizes, "\0")
    given = (
        plain
        if lines is None
        else pc.coalesce(pyarrow.chunked_array([lines], pyarrow.string()), plain)
    )
    return files.append_column(LINE, given)


def _all_equal(a: pyarrow.Table, b: pyarrow.Table, names: tuple[str, ...]) -> pyarrow.ChunkedArray:
    equal = pyarrow.scalar(True)
    for name in names:
        equal = pc.and_kleene(equal, pc.equal(a.column(name), b.column(name)))
    return equal


def _line(row: dict[str, Any]) -> str:
    return f"{row['name']}\0{row['size']}"


def _memory(
    files: pyarrow.Table,
    contents: dict[str, dict[str, str]] | None = None,
    listing: str | None = None,
) -> Memory:
    return Memory(files, _digest(files.select([LINE])), contents or {}, listing)


def _digest(table: pyarrow.Table) -> str:
    """SHA-256 over the values, each as a line of text, in pieces of rows and then by column."""
    total = hashlib.sha256()
    for start in range(0, len(table), GROUP_ROWS):
        for column in table.slice(start, GROUP_ROWS).columns:
            texts = column.cast(pyarrow.string()).to_pylist()
            total.update(("\n".join(texts) + "\n").encode())
    return total.hexdigest()


def _layout(entry: Entry) -> tuple[Any, ...]:
    """What a listing says about an image, but for its row, which other files decide."""
    return entry.key, entry.bytes, entry.offset


def _content(entries: list[Entry], digests: list[str]) -> str:
    """Digest of the images of a file."""
    pairs = zip(entries, digests, strict=True)
    return sha256_bytes(canonical_json([[*_layout(e), digest] for e, digest in pairs]).encode())
