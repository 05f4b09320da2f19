"""Measures what an evaluation asks for, and writes it down."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saev.analyze.merge import write_table
from saev.core import logs
from saev.core.files import to_json, write_bytes
from saev.evaluate import (
    ablation,
    absorption,
    downstream,
    gamma,
    probing,
    redundancy,
    stability,
    vocabulary,
    zero_shot,
)
from saev.evaluate.artifact import FIGURES, TABLE
from saev.evaluate.classes import Classes
from saev.evaluate.crops import embed
from saev.evaluate.hierarchy import require_hierarchy
from saev.evaluate.one_pass import OnePass
from saev.evaluate.opened import Opened
from saev.evaluate.results import Results, missing
from saev.evaluate.shared_inputs import SharedInputs
from saev.evaluate.words import read_words
from saev.settings.evaluation import EvaluationSettings
from saev.train.artifact import load


class Evaluator:
    """Measures one metric after the other.

    Args:
        opened: what to evaluate; settings: which metrics.
        scratch: an empty folder that only this job uses.
        seeds: directories of the same dictionary with other seeds; shuffled: of two dictionaries
            of shuffled activations, or none.
        workers: threads that decode images.

    Attributes:
        shared: what several metrics need.
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
        self.opened, self.settings, self.scratch = opened, settings, scratch
        self.seeds, self.shuffled = seeds, shuffled
        self.shared = SharedInputs(opened, settings.seed, scratch, workers)
        self.results = Results()
        self.seconds: dict[str, float] = {}
        self.files: list[str] = []
        self.left_out: dict[str, dict[str, int]] = {}

    def run(self) -> None:
        """Measure everything that the settings ask for."""
        inputs, settings = self.opened.inputs, self.settings
        if settings.absorption:
            require_hierarchy(inputs, settings.absorption)
        stats = inputs.activations.stats(inputs.stream)
        norm = (t.double().cpu().numpy() for t in (inputs.sae.norm_mean, inputs.sae.norm_scale))
        self.results.figures.append(gamma.measure(stats["mean"], stats["std"], *norm))
        if settings.redundancy:
            self._timed("redundancy", self._redundancy)
        if settings.stability:
            self._timed("stability", self._stability)
        for label in settings.probing:
            self._timed(f"probing {label}", partial(self._probing, label))
        if settings.downstream:
            label = settings.downstream
            self._timed(f"downstream {label}", partial(self._downstream, label))
        if settings.zero_shot:
            label = settings.zero_shot
            self._timed(f"zero-shot {label}", partial(self._zero_shot, label))
        if settings.ablation:
            label = settings.ablation
            self._timed(f"ablation {label}", partial(self._ablation, label))
        if settings.absorption:
            self._timed("absorption", self._absorption)
        if settings.vocabulary:
            self._timed("vocabulary", partial(self._vocabulary, Path(settings.vocabulary)))
        self._pass()

    def _timed(self, metric: str, measure: Callable[[], Results]) -> None:
        logs.say(f"measuring {metric}")
        started = time.monotonic()
        self.results.add(measure())
        self.seconds[metric] = round(time.monotonic() - started, 3)

    def _classes(self, label: str) -> Classes:
        found = self.shared.classes(label)
        self.left_out[label] = found.left_out
        return found

    def _redundancy(self) -> Results:
        decoder = self.opened.inputs.sae.dictionary().detach()
        return redundancy.measure(decoder, self.opened.live, self.settings.seed)

    def _stability(self) -> Results:
        sae = self.opened.inputs.sae
        if not self.seeds:
            note = "no other run differs in init_seed alone: sweep: {init_seed: [0, 1, 2]}"
            if sae.architecture == "converted":
                note = "a dictionary from elsewhere doesn't say which seed it has"
            return Results([missing("stability", "mean", "latents", note)])
        others = []
        for folder in (*self.seeds, *self.shuffled):
            other = load(folder, sae.W_dec.device)
            stability.require_comparable(sae, other, str(folder))
            others.append(other)
        n = len(self.seeds)
        return stability.measure(sae, others[:n], self.settings.seed, others[n:])

    def _probing(self, label: str) -> Results:
        shared, classes = self.shared, self._classes(label)
        given = (shared.inputs, label, classes, shared.pca, shared.l0, shared.seed)
        return probing.measure(*given, self.scratch)

    def _downstream(self, label: str) -> Results:
        shared, classes = self.shared, self._classes(label)
        given = (lambda: shared.rerun, partial(shared.spliced, label), label, classes)
        return downstream.measure(shared.inputs, *given, shared.seed)

    def _zero_shot(self, label: str) -> Results:
        shared, classes = self.shared, self._classes(label)
        given = (shared.text_tower, partial(shared.spliced, label), label, classes)
        return zero_shot.measure(*given, shared.seed)

    def _ablation(self, label: str) -> Results:
        shared, classes = self.shared, self._classes(label)
        given = (shared.inputs, shared.rerun, label, classes, self.opened.image_count)
        return ablation.measure(*given, shared.seed, self.scratch)

    def _absorption(self) -> Results:
        named, shared = self.settings.absorption, self.shared
        assert named is not None
        given = (shared.inputs, named, self._classes(named.parent), shared.l0, shared.seed)
        return absorption.measure(*given, self.scratch)

    def _vocabulary(self, path: Path) -> Results:
        words, inputs = read_words("vocabulary", path), self.opened.inputs
        found = self.opened.analysis.latents()
        latents = vocabulary.asked(found["top_rows"])
        rows, patches = (
            found[name][latents, : vocabulary.TOP].reshape(-1).astype(np.int64)
            for name in ("top_rows", "top_patches")
        )
        if inputs.stream.kind != "patches":
            patches = np.full_like(rows, -1)
        vectors = self.shared.text_tower()(words)
        crops = embed(self.shared.rerun, rows, patches) if len(rows) else torch.empty(0, 1)
        n, seed = inputs.sae.n_latents, self.settings.seed
        return vocabulary.measure(latents, n, crops, words, vectors, seed)

    def _pass(self) -> None:
        """Measure what needs the activations."""
        started = time.monotonic()
        one = OnePass(self.shared, self.settings)
        if one.observers:
            one.run()
            self.seconds["pass"] = round(time.monotonic() - started, 3)
        self.results.add(one.results)
        self.files += one.files
        if one.left_out is not None:
            self.left_out["masks"] = one.left_out

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
