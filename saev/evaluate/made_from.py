"""What an evaluation is made from: earlier results, and their digests."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from saev.analyze.artifact import STAGE as ANALYZE
from saev.core.meta import read_meta
from saev.train.artifact import STAGE as TRAIN


class Folders(NamedTuple):
    """Directories of earlier results."""

    analysis: Path
    sae: Path
    activations: Path
    labels: Path | None
    """None for an analysis without labels."""
    seeds: Sequence[Path] = ()
    """Dictionaries that differ from this one in `init_seed` alone."""

    def digests(self) -> dict[str, str]:
        """SHA-256 of the `meta.json` of what can differ.

        That of the analysis covers the dictionary, the activations and the labels.
        """
        found = {ANALYZE: read_meta(self.analysis, ANALYZE)[1]}
        return found | {f"{TRAIN}/{path.name}": read_meta(path, TRAIN)[1] for path in self.seeds}
