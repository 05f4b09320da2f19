"""Compares recordings: which rows differ and by how much, or what they were swapped with."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from saev.activations.artifact import RECORDS, STATS, TWINS, Activations, Stream, shard_array
from saev.core.errors import printable
from saev.images.artifact import Images
from saev.parity.lab import Made
from saev.parity.measures import distances
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings
from saev.workflow.stages import BY_NAME

BLOCK = 1024
"""Images looked at to see what a stream was swapped with."""
VECTORS = 8192
"""Roughly how many vectors are compared at a time."""
LAST_BIT = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Relative distance of neighbouring numbers in the stored type."""
SHOWN = 3


def compare_activations(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two recordings stream by stream, then their records, statistics and twins."""
    old, new = Activations(a.folder), Activations(b.folder)
    rows = [one.rows(0, one.n_images) for one in (old, new)]
    if not np.array_equal(rows[0], rows[1]):
        gone, more = (np.setdiff1d(rows[i], rows[1 - i]) for i in (0, 1))
        return Verdict(
            Level.DIFFERENT,
            (
                f"{len(rows[1]):,} images are recorded, before {len(rows[0]):,}: without row "
                f"{_some(gone)}; new row {_some(more)}",
            ),
        )
    found = []
    for name in sorted({*old.streams, *new.streams}):
        if name not in old.streams or name not in new.streams:
            text = f"{name} is recorded only by {'NEW' if name in new.streams else 'OLD'}"
            found.append(Verdict(Level.DIFFERENT, (text,)))
        else:
            called = partial(_keys, b)
            found.append(_stream(old, new, old.streams[name], new.streams[name], settings, called))
    same = all(one.level == Level.BIT_EQUAL for one in found)
    return worst([*found, *_beside(a, b, settings, same)])


def _keys(made: Made, rows: np.ndarray) -> list[str]:
    """Names of images, in the order of ``rows``."""
    found = Images(BY_NAME["images"].place(made.results, made.names)).entries(sorted(rows.tolist()))
    keys = {entry.row: printable(entry.key) for entry in found}
    return [keys[row] for row in rows.tolist()]


def _pairs(
    old: Activations, new: Activations, a: Stream, b: Stream
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, and what both recordings hold of them. Files that both share aren't read."""
    size, each = old.shard_images, max(1, VECTORS // a.n_patches)
    for shard in range(old.n_shards):
        names = [one.path / shard_array(stream.name, shard) for one, stream in ((old, a), (new, b))]
        start, stop = shard * size, min((shard + 1) * size, old.n_images)
        if new.shard_images == size and names[0].samefile(names[1]):
            rows = old.rows(start, stop)
            yield rows, np.empty((len(rows), 0)), np.empty((len(rows), 0))
            continue
        for first in range(start, stop, each):
            rows, x = old.read(a, first, min(first + each, stop))
            yield rows, x, new.read(b, first, min(first + each, stop))[1]


def _stream(
    old: Activations,
    new: Activations,
    a: Stream,
    b: Stream,
    settings: ParitySettings,
    called: Callable[[np.ndarray], list[str]],
) -> Verdict:
    if (a.d, a.n_patches) != (b.d, b.n_patches):
        shapes = [f"{s.n_patches} × {s.d}" for s in (a, b)]
        return Verdict(Level.DIFFERENT, (f"{a.name} is {shapes[1]} an image, before {shapes[0]}",))
    tolerance = max(settings.rounding, LAST_BIT.get(new.dtype, 0.0))
    rows, distances, beyond, largest, squares = [], [], [], 0.0, [0.0, 0.0]
    equal = True
    for row, x, y in _pairs(old, new, a, b):
        rows.append(row)
        if x.tobytes() == y.tobytes():
            distances.append(np.zeros(len(row)))
            beyond.append(np.zeros(len(row), bool))
            continue
        equal = False
        one, other = (
            at.float32(v).reshape(len(v), -1).astype(np.float64) for at, v in ((old, x), (new, y))
        )
        apart, size = np.abs(one - other), np.maximum(np.abs(one), np.abs(other))
        length = np.linalg.norm(size, axis=1)
        typical = length[:, None] / max(1, size.shape[1]) ** 0.5
        # A number may move by its last bit, and by what the sums that it comes from are rounded by.
        beyond.append((apart > tolerance * size + settings.rounding * typical).any(axis=1))
        far = np.linalg.norm(apart, axis=1)
        distances.append(np.divide(far, length, out=np.zeros_like(far), where=length > 0))
        largest = max(largest, float(apart.max(initial=0)))
        squares = [squares[0] + float(far @ far), squares[1] + float(length @ length)]
    if equal:
        return Verdict(Level.BIT_EQUAL)
    row, apart = np.concatenate(rows), np.concatenate(distances)
    n = int(np.concatenate(beyond).sum())
    whole = (squares[0] / squares[1]) ** 0.5 if squares[1] else 0.0
    figures = {f"{a.name}.relative": whole, f"{a.name}.max_absolute": largest}
    if not n:
        text = f"{a.name} differs by {whole:.1g} of its norm, no value by over {tolerance:.1g}"
        return Verdict(Level.ROUNDING, (text,), figures)
    reason = _swapped(old, new, a, b, tolerance)
    worst_rows = row[np.argsort(-apart, kind="stable")[:SHOWN]]
    named = ", ".join(called(worst_rows))
    text = (
        f"{n:,} of {len(row):,} images differ in {a.name}, by {whole:.2g} of its norm and at most "
        f"{largest:.3g} (most in {named})"
    )
    return Verdict(Level.DIFFERENT, (f"{a.name}: {reason}; {text}" if reason else text,), figures)


def _swapped(
    old: Activations, new: Activations, a: Stream, b: Stream, tolerance: float
) -> str | None:
    """What the new stream is instead, as far as this can be seen in the first block."""
    rows, values = new.read(b, 0, BLOCK)
    before = old.read(a, 0, BLOCK)[1]
    order = distances.moved(
        distances.row_digests(before), distances.row_digests(values), lambda i: str(rows[i])
    )
    if order:
        return order
    y = new.float32(values)
    for stream in old.streams.values():
        x = old.float32(old.read(stream, 0, BLOCK)[1])
        for what, other in _kinds(stream, x):
            if stream.name == a.name and what == "":
                continue
            if other.shape == y.shape and distances.relative(other, y) <= tolerance:
                return f"holds {what}{stream.name} of OLD"
    if b.n_patches > 1 and distances.relative(before[:, :-1], values[:, 1:]) <= tolerance:
        return "patches are shifted by one token"
    if b.n_patches > 1 and distances.relative(before[:, 1:], values[:, :-1]) <= tolerance:
        return "patches are shifted by one token"
    return None


def _kinds(stream: Stream, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "", x
    if stream.n_patches > 1:
        yield "the mean of ", x.mean(axis=1, keepdims=True)
        yield "the first patch of ", x[:, :1]
        yield "the last patch of ", x[:, -1:]


def _beside(a: Made, b: Made, settings: ParitySettings, same: bool) -> Iterator[Verdict]:
    """Compare what lies beside activations, which are the ``same`` bit by bit or not."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    tolerance = distances.SAME_VALUES if same else max(settings.rounding, 1e-3)
    held = [load_file(made.folder / STATS) for made in (a, b)]
    found = distances.arrays(*held, tolerance=tolerance, as_wholes=not same)
    yield Verdict(found.level, tuple(f"statistics: {text}" for text in found.texts))
    tables = [pq.read_table(made.folder / RECORDS) for made in (a, b)]
    found = distances.tables(*tables, tolerance=settings.rounding, key="row")
    yield Verdict(found.level, tuple(f"records of images: {text}" for text in found.texts))
    twins = [m.folder / TWINS for m in (a, b)]
    if all(path.exists() for path in twins):
        pairs = [np.load(path, allow_pickle=False) for path in twins]
        if not distances.same_bits(*pairs):
            text = f"{len(pairs[1]):,} pairs of copies, before {len(pairs[0]):,}"
            yield Verdict(Level.DIFFERENT, (text,))


def _some(rows: np.ndarray) -> str:
    shown = ", ".join(map(str, rows[:SHOWN].tolist()))
    return f"{shown} …" if len(rows) > SHOWN else shown or "none"
