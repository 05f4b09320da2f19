"""Opens and checks what an evaluation is made from."""

from typing import NamedTuple

import numpy as np
import torch

from saev.analyze.artifact import STAGE as ANALYZE
from saev.analyze.artifact import Analysis
from saev.analyze.inputs import Inputs, open_inputs
from saev.core.errors import UserError
from saev.evaluate.made_from import Folders
from saev.settings.analysis import AnalysisSettings
from saev.settings.labels import LabelSettings


class Opened(NamedTuple):
    """An analysis, and what it was made from."""

    inputs: Inputs
    analysis: Analysis
    image_count: np.ndarray
    """(n,) int64: on how many images of the analysis each latent fires."""

    @property
    def live(self) -> np.ndarray:
        """(n,) bool: latents that fire on the images of the analysis."""
        live: np.ndarray = self.image_count > 0
        return live


def open_all(folders: Folders, device: torch.device) -> Opened:
    """Open everything and check that it fits together.

    Args:
        folders: where it lies.
        device: where the dictionary runs.

    Raises:
        UserError: something is missing or altered, or the analysis was made from something else.
    """
    analysis = Analysis(folders.analysis)
    settings = analysis.meta["settings"]
    # Only the names of the labels matter here: the analysis says where they came from.
    labels = {name: LabelSettings(folder=True) for name in analysis.label_names}
    named = AnalysisSettings(labels=labels, on=settings.get("on"))
    inputs = open_inputs(named, folders.sae, folders.activations, folders.labels, device)
    made_from = analysis.meta["inputs"]
    differing = sorted(
        stage for stage in made_from if made_from[stage] != inputs.digests.get(stage)
    )
    if differing:
        raise UserError(
            f"{folders.analysis} was made from other {' and '.join(differing)} than are here now: "
            f"run the stage {ANALYZE} again"
        )
    return Opened(inputs, analysis, analysis.latents()["image_count"])
