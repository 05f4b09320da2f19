"""What several metrics of an evaluation need, each made once and only if one needs it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saev.activations.towers.again import recorded_settings
from saev.activations.towers.text_tower import TextTower, load_text_tower
from saev.analyze.accumulate import STEP_VECTORS
from saev.analyze.baseline import Pca, fit, sample
from saev.analyze.ordered import one_thread
from saev.evaluate.classes import Classes, classes_of
from saev.evaluate.downstream import Spliced, spliced_outputs
from saev.evaluate.on_disk import OnDisk
from saev.evaluate.opened import Opened
from saev.evaluate.tower_outputs import Rerun

PURPOSE = 7
"""Which sample baselines are fitted on: see `sample`."""


class SharedInputs:
    """Makes them when they are first asked for, and keeps them.

    Args:
        opened: what to evaluate; seed: of all that is drawn.
        scratch: an empty folder that only this job uses.
        workers: threads that decode images.
    """

    def __init__(self, opened: Opened, seed: int, scratch: Path, workers: int) -> None:
        self.opened, self.inputs, self.seed = opened, opened.inputs, seed
        self.scratch, self.workers = scratch, workers
        self._classes: dict[str, Classes] = {}
        self._outputs: dict[str, Spliced] = {}

    @cached_property
    def trained_on(self) -> tuple[str, dict[str, Any]]:
        """The split of the images trained on, or of all if none of them was; and its figures."""
        splits = self.opened.analysis.summary["splits"]
        here = {name: figures for name, figures in splits.items() if figures}
        split = "train" if "train" in here else next(iter(here))
        return split, here[split]

    @property
    def l0(self) -> float:
        """Mean number of latents that fire on a vector trained on."""
        return float(self.trained_on[1]["l0"])

    @cached_property
    def sample(self) -> Tensor:
        """Some of the vectors trained on, in the dictionary's space: (m, d) float32, on disk."""
        split, figures = self.trained_on
        held = OnDisk(self.scratch, np.float32)
        with one_thread():
            for block in sample(self.inputs, split, figures["n_vectors"], PURPOSE):
                held.add(block.numpy())
        return torch.from_numpy(held.array()).reshape(-1, self.inputs.sae.d)

    @cached_property
    def pca(self) -> Pca:
        """Principal components of the vectors trained on, in the dictionary's space."""
        centre = self.inputs.centre().cpu().double()
        with one_thread():
            return fit((block.double() for block in self.sample.split(STEP_VECTORS)), centre)

    def classes(self, label: str) -> Classes:
        """The classes of a label."""
        if label not in self._classes:
            self._classes[label] = classes_of(self.inputs, label, self.seed)
        return self._classes[label]

    @cached_property
    def rerun(self) -> Rerun:
        """The tower, to look at images again."""
        recording = self.inputs.activations
        device = self.inputs.sae.W_dec.device
        return Rerun(recording, recording.path.parent, device, self.workers)

    def text_tower(self) -> TextTower:
        """The text tower of the same model. It isn't kept, as it is large."""
        recording = self.inputs.activations
        settings = recorded_settings(recording.meta, recording.path)
        return load_text_tower(settings, self.inputs.sae.W_dec.device)

    def spliced(self, label: str) -> Spliced:
        """The tower's outputs for held-out images of a label, with reconstructions."""
        if label not in self._outputs:
            given = (self.inputs, self.rerun, self.classes(label), self.pca, self.l0)
            self._outputs[label] = spliced_outputs(*given, self.seed)
        return self._outputs[label]
