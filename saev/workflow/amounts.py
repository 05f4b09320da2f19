"""Refuses batches and shares that don't fit the number of images, before anything runs."""

from typing import Any

import numpy as np

from saev.core.blocks import held_out_mask
from saev.core.errors import UserError
from saev.settings.config import RunSettings


def require_amounts(run: RunSettings, sae: Any, n_images: int) -> None:
    """Refuse a batch of more vectors than there are images, and a share that is less than an image.

    Args:
        run: the run, for messages.
        sae: settings of its dictionary.
        n_images: how many images are listed.
    """
    for share, what in ((sae.held_out, "hold out"), (1 - sae.held_out, "train on")):
        if sae.held_out and share * n_images < 1:
            raise UserError(
                f"sae.{run.sae}.held_out: {sae.held_out:g} leaves less than one of the "
                f"{n_images:,} images of images.{run.images} to {what}: give a share between "
                f"{1 / n_images:.2g} and {1 - 1 / n_images:.4g}, or 0 to hold out none"
            )
    if sae.tokens != "patches" and sae.batch_size > n_images:
        raise UserError(
            f"sae.{run.sae}.batch_size: {sae.batch_size:,} is more than the {n_images:,} "
            f"images of images.{run.images}, each of which gives one {sae.tokens} vector: "
            f"lower it, or add images"
        )


def require_batch(run: RunSettings, sae: Any, n_images: int, n_patches: int | None) -> None:
    """Refuse a batch of more vectors than are left to train on.

    Only the training knows which images are identical or bad, and how groups divide. Identical
    images change little, and bad ones leave even less.

    Args:
        run, sae, n_images: as for `require_amounts`.
        n_patches: vectors of an image if the dictionary trains on patches; None if unknown.
    """
    each = n_patches if sae.tokens == "patches" else 1
    if each is None or sae.held_out_by is not None or sae.batch_size * 2 < each * n_images:
        return
    left = n_images - int(held_out_mask(np.arange(n_images), sae.held_out, sae.seed).sum())
    if sae.batch_size > left * each:
        held_out = " that aren't held out" if sae.held_out else ""
        raise UserError(
            f"sae.{run.sae}.batch_size: {sae.batch_size:,} is more than the {left * each:,} "
            f"vectors of the {left:,} images of images.{run.images}{held_out}: lower it, or add "
            f"images"
        )
