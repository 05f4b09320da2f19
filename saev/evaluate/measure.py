"""Measures what an evaluation asks for, and writes it down."""

import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from saev.activations.towers.again import recorded_settings
from saev.activations.towers.text_tower import TextTower, load_text_tower
from saev.analyze.accumulate import STEP_VECTORS
from saev.analyze.baseline import Pca, sample
from saev.analyze.baseline import fit as fit_pca
from saev.analyze.kept_codes import KeptCodes
from saev.analyze.merge import write_table
from saev.analyze.ordered import one_thread
from saev.core import logs
from saev.core.files import atomic_path, to_json, write_bytes
from saev.core.progress import Progress
from saev.evaluate import (
    ablation,
    absorption,
    coactivation,
    downstream,
    gamma,
    masks,
    monosemanticity,
    moran,
    probing,
    redundancy,
    stability,
    vocabulary,
    zero_shot,
)
from saev.evaluate.artifact import BY_CLASS, FIGURES, PARTNERS, TABLE
from saev.evaluate.classes import Classes, classes_of
from saev.evaluate.crops import embed
from saev.evaluate.firing import Observer, look
from saev.evaluate.mask_counts import MaskCounts
from saev.evaluate.monosemanticity import Embedded, embeddings_of
from saev.evaluate.on_disk import OnDisk
from saev.evaluate.opened import Opened
from saev.evaluate.results import Results, missing
from saev.evaluate.tower_outputs import Rerun
from saev.evaluate.untrained import untrained
from saev.evaluate.words import read_words
from saev.settings.evaluation import EvaluationSettings
from saev.train.artifact import load

PURPOSE = 7
"""Which sample baselines are fitted on: see `sample`."""


class Evaluator:
    """Measures one metric after the other.

    Args:
        opened: what to evaluate; settings: which metrics.
        scratch: an empty folder that only this job uses.
        seeds: directories of the same dictionary with other seeds; shuffled: of two dictionaries
            of shuffled activations, or none.
        workers: threads that decode images.

    Attributes:
        results: what was found so far; seconds: how long each metric took; files: names of further
            files in ``scratch``; left_out: by label, classes with too few images, and how many
            they have.
    """

    def __init__(
        self,
        opened: Opened,
        settings: EvaluationSettings,
        scratch: Path,
        seeds: Sequence[Path] = (),
        workers: int = 1,
        shuffled: Sequence[Path] = (),
    ) -> None:
        self.workers = workers
        self.opened, self.settings, self.scratch = opened, settings, scratch
        self.seeds, self.shuffled = seeds, shuffled
        self.results = Results()
        self._outputs: dict[str, downstream.Spliced] = {}
        self.seconds: dict[str, float] = {}
        self.files: list[str] = []
        self.left_out: dict[str, dict[str, int]] = {}

    def run(self) -> None:
        """Measure everything that the settings ask for."""
        inputs, settings = self.opened.inputs, self.settings
        if settings.absorption:
            absorption.require_hierarchy(inputs, settings.absorption)
        stats = inputs.activations.stats(inputs.stream)
        norm = (t.double().cpu().numpy() for t in (inputs.sae.norm_mean, inputs.sae.norm_scale))
        self.results.figures.append(gamma.measure(stats["mean"], stats["std"], *norm))
        if settings.redundancy:
            decoder = inputs.sae.dictionary().detach()
            self._timed(
                "redundancy",
                lambda: redundancy.measure(decoder, self.opened.live, settings.seed),
            )
        if settings.stability:
            self._timed("stability", self._stability)
        for label in settings.probing:
            self._timed(f"probing {label}", lambda label=label: self._probing(label))  # type: ignore[misc]
        if settings.downstream:
            label = settings.downstream
            self._timed(f"downstream {label}", lambda: self._downstream(label))
        if settings.zero_shot:
            label = settings.zero_shot
            self._timed(f"zero-shot {label}", lambda: self._zero_shot(label))
        if settings.ablation:
            label = settings.ablation
            self._timed(f"ablation {label}", lambda: self._ablation(label))
        if settings.absorption:
            self._timed("absorption", self._absorption)
        if settings.vocabulary:
            path = Path(settings.vocabulary)
            self._timed("vocabulary", lambda: self._vocabulary(path))
        self._pass()

    def _probing(self, label: str) -> Results:
        inputs, seed = self.opened.inputs, self.settings.seed
        classes = self._classes(label)
        given = (inputs, label, classes, self._pca, self._l0, seed)
        return probing.measure(*given, self.scratch)

    def _downstream(self, label: str) -> Results:
        inputs, seed = self.opened.inputs, self.settings.seed
        spliced = partial(self._spliced, label)
        given = (lambda: self._rerun, spliced, label, self._classes(label), seed)
        return downstream.measure(inputs, *given)

    def _zero_shot(self, label: str) -> Results:
        recording = self.opened.inputs.activations
        device = self.opened.inputs.sae.W_dec.device

        def text_tower() -> TextTower:
            return load_text_tower(recorded_settings(recording.meta, recording.path), device)

        spliced = partial(self._spliced, label)
        return zero_shot.measure(
            text_tower, spliced, label, self._classes(label), self.settings.seed
        )

    def _spliced(self, label: str) -> downstream.Spliced:
        """The tower's outputs for held-out images. They are kept, as two metrics ask for them."""
        if label not in self._outputs:
            classes = self._classes(label)
            given = (self.opened.inputs, self._rerun, classes, self._pca, self._l0)
            self._outputs[label] = downstream.spliced_outputs(*given, self.settings.seed)
        return self._outputs[label]

    def _ablation(self, label: str) -> Results:
        image_count, seed = self.opened.image_count, self.settings.seed
        classes, inputs = self._classes(label), self.opened.inputs
        given = (inputs, self._rerun, label, classes, image_count, seed)
        return ablation.measure(*given, self.scratch)

    def _absorption(self) -> Results:
        named = self.settings.absorption
        assert named is not None
        classes, inputs = self._classes(named.parent), self.opened.inputs
        given = (inputs, named, classes, self._l0, self.settings.seed)
        return absorption.measure(*given, self.scratch)

    def _vocabulary(self, path: Path) -> Results:
        words, inputs = read_words("vocabulary", path), self.opened.inputs
        recording, device = inputs.activations, inputs.sae.W_dec.device
        found = self.opened.analysis.latents()
        latents = vocabulary.asked(found["top_rows"])
        rows, patches = (
            found[name][latents, : vocabulary.TOP].reshape(-1).astype(np.int64)
            for name in ("top_rows", "top_patches")
        )
        if inputs.stream.kind != "patches":
            patches = np.full_like(rows, -1)
        texts = load_text_tower(recorded_settings(recording.meta, recording.path), device)
        vectors = texts(words)
        del texts
        crops = embed(self._rerun, rows, patches) if len(rows) else torch.empty(0, 1)
        n, seed = inputs.sae.n_latents, self.settings.seed
        return vocabulary.measure(latents, n, crops, words, vectors, seed)

    @cached_property
    def _rerun(self) -> Rerun:
        inputs = self.opened.inputs
        folder = inputs.activations.path.parent
        return Rerun(inputs.activations, folder, inputs.sae.W_dec.device, self.workers)

    def _classes(self, label: str) -> Classes:
        found = classes_of(self.opened.inputs, label, self.settings.seed)
        self.left_out[label] = found.left_out
        return found

    @cached_property
    def _pca(self) -> Pca:
        """Principal components of the vectors trained on, in the dictionary's space."""
        centre = self.opened.inputs.centre().cpu().double()
        with one_thread():
            return fit_pca((block.double() for block in self._sample.split(STEP_VECTORS)), centre)

    @cached_property
    def _sample(self) -> Tensor:
        """Some of the vectors trained on, in the dictionary's space: (m, d) float32, on disk."""
        split, figures = self._trained_on
        held = OnDisk(self.scratch, np.float32)
        with one_thread():
            for block in sample(self.opened.inputs, split, figures["n_vectors"], PURPOSE):
                held.add(block.numpy())
        return torch.from_numpy(held.array()).reshape(-1, self.opened.inputs.sae.d)

    def _stability(self) -> Results:
        sae = self.opened.inputs.sae
        if not self.seeds:
            note = "no other run differs in init_seed alone: sweep: {init_seed: [0, 1, 2]}"
            return Results([missing("stability", "mean", "latents", note)])
        others = []
        for folder in (*self.seeds, *self.shuffled):
            other = load(folder, sae.W_dec.device)
            stability.require_comparable(sae, other, str(folder))
            others.append(other)
        n = len(self.seeds)
        return stability.measure(sae, others[:n], self.settings.seed, others[n:])

    def _timed(self, metric: str, measure: Callable[[], Results]) -> None:
        logs.say(f"measuring {metric}")
        started = time.monotonic()
        self._keep(measure())
        self.seconds[metric] = round(time.monotonic() - started, 3)

    def _keep(self, found: Results) -> None:
        self.results.figures += found.figures
        self.results.columns |= found.columns

    def _pass(self) -> None:
        """Measure what needs the activations, in one pass over them."""
        inputs, settings = self.opened.inputs, self.settings
        observers: list[Observer] = []
        maps = pairs = None
        if settings.spatial and inputs.stream.kind != "patches":
            note = f"{inputs.stream.name} has no patches"
            self.results.figures.append(missing("spatial", "mean", "latents", note))
        elif settings.spatial:
            rows, columns = inputs.activations.meta["summary"]["geometry"]["grid"]
            maps = moran.Maps(inputs.sae.n_latents, rows, columns, settings.seed)
            observers.append(maps)
        if settings.coactivation:
            folder = self.scratch / "pairs"
            folder.mkdir()
            pairs = coactivation.Pairs(folder, inputs.sae.n_latents)
            observers.append(pairs)
        found = None
        if settings.masks and inputs.stream.kind != "patches":
            note = f"{inputs.stream.name} has no patches"
            self.results.figures.append(missing("masks", "map", "classes", note))
        elif settings.masks:
            seed = settings.seed
            found = masks.finding(inputs, settings.masks, seed, self.scratch, self.workers)
            observers.append(found)
        embedded = None
        if settings.monosemanticity:
            stream = embeddings_of(inputs, settings.monosemanticity)
            embedded = Embedded(inputs, stream, inputs.sae.n_latents, raw=True)
            observers.append(embedded)
        if not observers:
            return
        started = time.monotonic()
        progress = Progress(inputs.activations.n_images, "images", "evaluating")
        kept = KeptCodes(self.opened.analysis, inputs.activations, inputs.stream)
        look(inputs, observers, progress.update, kept)
        if embedded:
            self._keep(self._monosemanticity(embedded))
        if found:
            self._keep(self._by_mask(found))
        if maps:
            self._keep(maps.results(settings.seed))
        if pairs:
            pieces = list(pairs.partners())
            self._keep(coactivation.results(pieces, inputs.sae.n_latents, settings.seed))
            self._write_partners(pieces)
        self.seconds["pass"] = round(time.monotonic() - started, 3)

    def _monosemanticity(self, ours: Embedded) -> Results:
        inputs, seed = self.opened.inputs, self.settings.seed
        chance = inputs._replace(sae=untrained(inputs.sae, self._l0, seed))
        baseline = Embedded(chance, ours.stream, inputs.sae.n_latents, raw=False)
        progress = Progress(inputs.activations.n_images, "images", "evaluating the baseline")
        look(chance, [baseline], progress.update)
        return monosemanticity.results(ours, baseline, seed)

    def _by_mask(self, ours: MaskCounts) -> Results:
        inputs, seed = self.opened.inputs, self.settings.seed
        given = (ours, inputs, self._pca, self._sample, self._l0, seed, self.scratch)
        found = masks.measure(*given)
        self.left_out["masks"] = found.left_out
        if found.table is not None:
            write_table(self.scratch / BY_CLASS, found.table)
            self.files.append(BY_CLASS)
        return found.results

    @cached_property
    def _trained_on(self) -> tuple[str, dict[str, Any]]:
        """The split of the images trained on, or of all if none of them was; and its figures."""
        splits = self.opened.analysis.summary["splits"]
        here = {name: figures for name, figures in splits.items() if figures}
        split = "train" if "train" in here else next(iter(here))
        return split, here[split]

    @property
    def _l0(self) -> float:
        """Mean number of latents that fire on a vector trained on."""
        return float(self._trained_on[1]["l0"])

    def _write_partners(self, pieces: list[dict[str, np.ndarray]]) -> None:
        columns = {"latent": np.int64, "partner": np.int64, "count": np.int64, "pmi": np.float64}
        table = {
            name: pyarrow.array(np.concatenate([*(p[name] for p in pieces), np.empty(0, kind)]))
            for name, kind in columns.items()
        }
        with atomic_path(self.scratch / PARTNERS) as temporary:
            pyarrow.parquet.write_table(pyarrow.table(table), temporary)
        self.files.append(PARTNERS)

    def write(self) -> list[str]:
        """Write the files into ``scratch``; return their names."""
        inputs = self.opened.inputs
        figures = [figure.entry() for figure in self.results.figures]
        about = {
            "stream": inputs.stream.name,
            "n_images": self.opened.analysis.summary["all"]["n_images"],
            "n_vectors": self.opened.analysis.summary["all"]["n_vectors"],
            "n_latents": inputs.sae.n_latents,
            "n_live": int(self.opened.live.sum()),
            "seed": self.settings.seed,
        }
        write_bytes(
            self.scratch / FIGURES,
            to_json({"of": about, "figures": figures, "left_out": self.left_out}),
        )
        columns = {"latent": np.arange(inputs.sae.n_latents), **self.results.columns}
        write_table(self.scratch / TABLE, columns)
        return [FIGURES, TABLE, *self.files]

    def summary(self) -> dict[str, Any]:
        """The figures of the run by metric and name, for `meta.json`."""
        found: dict[str, Any] = {}
        for figure in self.results.figures:
            name = ".".join(part for part in (figure.metric, figure.name, figure.of) if part)
            found[name] = figure.measured.value
        return found
