"""Compares listings and tables of labels: which rows differ, or that they only moved."""

from saev.images.artifact import MANIFEST
from saev.labels.artifact import TABLE
from saev.parity.lab import Made
from saev.parity.measures.distances import tables
from saev.parity.verdict import Verdict
from saev.settings.parity import ParitySettings


def compare_images(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two manifests."""
    return _tables(a, b, MANIFEST, "key")


def compare_labels(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two tables of labels."""
    return _tables(a, b, TABLE, "row")


def _tables(a: Made, b: Made, name: str, key: str) -> Verdict:
    import pyarrow.parquet as pq

    found = tables(*(pq.read_table(made.folder / name) for made in (a, b)), tolerance=0.0, key=key)
    return Verdict(found.level, found.texts, {"rows": b.described["summary"].get("n_images")})
