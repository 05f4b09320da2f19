"""The metrics that need all activations of an analysis. They share one pass over them."""

import numpy as np
import pyarrow
import pyarrow.parquet

from saev.analyze.kept_codes import KeptCodes
from saev.analyze.merge import write_table
from saev.core.files import atomic_path
from saev.core.progress import Progress
from saev.evaluate import coactivation, masks, monosemanticity, moran
from saev.evaluate.artifact import BY_CLASS, PARTNERS
from saev.evaluate.firing import Observer, look
from saev.evaluate.mask_counts import MaskCounts
from saev.evaluate.monosemanticity import Embedded, embeddings_of
from saev.evaluate.results import Results, missing
from saev.evaluate.shared_inputs import SharedInputs
from saev.evaluate.untrained import untrained
from saev.settings.evaluation import EvaluationSettings


class OnePass:
    """Measures spatial structure, co-activation, masks and monosemanticity, if they are asked for.

    Args:
        shared: what to look at.
        settings: which metrics.

    Attributes:
        results: what was found; files: names of further files in the scratch folder.
        left_out: classes of masks with too few images, and how many they have; None without masks.
    """

    def __init__(self, shared: SharedInputs, settings: EvaluationSettings) -> None:
        self.shared, self.settings, self.inputs = shared, settings, shared.inputs
        self.results, self.files = Results(), list[str]()
        self.left_out: dict[str, int] | None = None
        self.maps = self._maps() if settings.spatial else None
        self.pairs = self._pairs() if settings.coactivation else None
        self.masks = self._masks() if settings.masks else None
        self.embedded = self._embedded() if settings.monosemanticity else None
        observers: list[Observer | None] = [self.maps, self.pairs, self.masks, self.embedded]
        self.observers = [one for one in observers if one is not None]

    def _patches(self, metric: str, name: str, over: str) -> bool:
        """Whether there are patches. If not, the figure is null and says so."""
        if self.inputs.stream.kind == "patches":
            return True
        note = f"{self.inputs.stream.name} has no patches"
        self.results.figures.append(missing(metric, name, over, note))
        return False

    def _maps(self) -> moran.Maps | None:
        if not self._patches("spatial", "mean", "latents"):
            return None
        rows, columns = self.inputs.activations.meta["summary"]["geometry"]["grid"]
        return moran.Maps(self.inputs.sae.n_latents, rows, columns, self.settings.seed)

    def _pairs(self) -> coactivation.Pairs:
        folder = self.shared.scratch / "pairs"
        folder.mkdir()
        return coactivation.Pairs(folder, self.inputs.sae.n_latents)

    def _masks(self) -> MaskCounts | None:
        if not self._patches("masks", "map", "classes"):
            return None
        named, shared = self.settings.masks, self.shared
        assert named is not None
        return masks.finding(self.inputs, named, shared.seed, shared.scratch, shared.workers)

    def _embedded(self) -> Embedded:
        assert self.settings.monosemanticity is not None
        stream = embeddings_of(self.inputs, self.settings.monosemanticity)
        return Embedded(self.inputs, stream, self.inputs.sae.n_latents, raw=True)

    def run(self) -> None:
        """Look at all images, and make the figures."""
        seed, n_latents = self.settings.seed, self.inputs.sae.n_latents
        recording = self.inputs.activations
        progress = Progress(recording.n_images, "images", "evaluating")
        kept = KeptCodes(self.shared.opened.analysis, recording, self.inputs.stream)
        look(self.inputs, self.observers, progress.update, kept)
        if self.embedded:
            self.results.add(self._monosemanticity(self.embedded))
        if self.masks:
            self.results.add(self._by_mask(self.masks))
        if self.maps:
            self.results.add(self.maps.results(seed))
        if self.pairs:
            pieces = list(self.pairs.partners())
            self.results.add(coactivation.results(pieces, n_latents, seed))
            self._write_partners(pieces)

    def _monosemanticity(self, ours: Embedded) -> Results:
        inputs, seed = self.inputs, self.settings.seed
        chance = inputs._replace(sae=untrained(inputs.sae, self.shared.l0, seed))
        baseline = Embedded(chance, ours.stream, inputs.sae.n_latents, raw=False)
        progress = Progress(inputs.activations.n_images, "images", "evaluating the baseline")
        look(chance, [baseline], progress.update)
        return monosemanticity.results(ours, baseline, seed)

    def _by_mask(self, ours: MaskCounts) -> Results:
        shared = self.shared
        given = (ours, self.inputs, shared.pca, shared.sample, shared.l0, shared.seed)
        found = masks.measure(*given, shared.scratch)
        self.left_out = found.left_out
        if found.table is not None:
            write_table(shared.scratch / BY_CLASS, found.table)
            self.files.append(BY_CLASS)
        return found.results

    def _write_partners(self, pieces: list[dict[str, np.ndarray]]) -> None:
        columns = {"latent": np.int64, "partner": np.int64, "count": np.int64, "pmi": np.float64}
        table = {
            name: pyarrow.array(np.concatenate([*(p[name] for p in pieces), np.empty(0, kind)]))
            for name, kind in columns.items()
        }
        with atomic_path(self.shared.scratch / PARTNERS) as temporary:
            pyarrow.parquet.write_table(pyarrow.table(table), temporary)
        self.files.append(PARTNERS)
