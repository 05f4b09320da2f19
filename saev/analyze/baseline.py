"""The baseline: a PCA with the same L0. How well does a linear basis do with as many numbers?

It is fitted once for all dictionaries that see the same vectors, such as the points of a sweep: see
`shared`.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file, save

from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.analyze.artifact import baseline_json, baseline_tensors
from saev.analyze.inputs import Inputs
from saev.analyze.mapped import release
from saev.analyze.ordered import one_thread
from saev.core import logs, metrics
from saev.core.blocks import block_ranges
from saev.core.errors import UserError
from saev.core.files import (
    canonical_json,
    file_entry,
    read_json,
    sha256_bytes,
    write_bytes,
    write_json,
)
from saev.core.locks import Lock
from saev.core.machine import kind

SAMPLE = 65_536
"""Largest number of vectors to fit, and of each split's vectors to evaluate."""
SEED = 0


def sample(
    inputs: Inputs, split: str, n_vectors: int, purpose: int, size: int = SAMPLE
) -> Iterator[torch.Tensor]:
    """Yield a seeded sample of a split's vectors, without repetition, in row order, in blocks.

    Args:
        split: which split; n_vectors: how many vectors it has.
        purpose: another number gives another sample; size: the largest number of vectors to yield.

    Yields:
        (b, d) float64, in the SAE's space.
    """
    rng = np.random.default_rng([SEED, purpose])
    chosen = np.sort(rng.choice(n_vectors, min(n_vectors, size), replace=False))
    n_patches, seen = inputs.stream.n_patches, 0
    for start, stop in block_ranges(0, inputs.activations.n_images):
        rows, values = inputs.activations.read(inputs.stream, start, stop)
        mine = np.flatnonzero(inputs.splits(rows)[split])
        low, high = np.searchsorted(chosen, [seen, seen + len(mine) * n_patches])
        here = chosen[low:high] - seen
        seen += len(mine) * n_patches
        if not len(here):
            continue
        stored = values[mine[here // n_patches], here % n_patches]
        release(values)
        x = torch.from_numpy(inputs.activations.float32(stored)).to(inputs.sae.W_dec.device)
        yield inputs.sae.normalise(x).cpu().double()


class Pca(NamedTuple):
    """Mean and directions, largest variance first."""

    mean: torch.Tensor
    """(d,) float64."""
    directions: torch.Tensor
    """(d, d) float64. Each column is a direction, and contiguous in memory."""
    n_fit: int
    """How many vectors it was fitted on."""


def fit(vectors: Iterator[torch.Tensor], centre: torch.Tensor) -> Pca:
    """Principal components of ``vectors`` (b, d), read once. ``centre`` (d,) is near their mean."""
    d = len(centre)
    total, products, n = torch.zeros(d).double(), torch.zeros(d, d).double(), 0
    for x in vectors:
        total += (x - centre).sum(0)
        products += (x - centre).T @ (x - centre)
        n += len(x)
    mean = total / n
    directions = torch.linalg.eigh(products / n - mean[:, None] * mean).eigenvectors.flip(1)
    return Pca(centre + mean, directions, n)


def shared(inputs: Inputs, split: str, n_vectors: int, code: str) -> Pca:
    """The PCA of a split.

    The first analysis that needs it fits it and keeps it with the activations.

    `baselines/KEY.json` is written last. It says what was fitted (this gives the key), what else
    the fit was made from, and the SHA-256 of the tensors. If the fit was altered, or made from
    something else, it is made again. Whether there already was a fit doesn't change a byte of the
    results.

    Args:
        split: which split; n_vectors: how many vectors it has.
        code: digest of the stage's code.
    """
    description = _description(inputs, split, code)
    key = sha256_bytes(canonical_json(description["of"]).encode())[:16]
    folder = inputs.activations.path
    found = _read(inputs, key, description)
    if found:
        return found
    tensors = folder / baseline_tensors(key)
    lock = Lock(tensors.with_suffix(".lock"), f"the baseline {tensors}")
    try:
        lock.acquire(wait=True, on_wait=logs.say)
    except (OSError, UserError):
        # In a read-only folder, no fit can be kept. That only costs time.
        return _fit_split(inputs, split, n_vectors)
    try:
        found = _read(inputs, key, description)
        if found is None:
            found = _fit_split(inputs, split, n_vectors)
            with suppress(OSError, UserError):
                _write(inputs, key, description, found)
        return found
    finally:
        lock.release()


def _fit_split(inputs: Inputs, split: str, n_vectors: int) -> Pca:
    return fit(sample(inputs, split, n_vectors, 0), inputs.centre().cpu().double())


def _description(inputs: Inputs, split: str, code: str) -> dict[str, Any]:
    """Everything that the fit's bits depend on: what is fitted, and from what."""
    norm = [t.cpu().numpy().tobytes() for t in (inputs.sae.norm_mean, inputs.sae.norm_scale)]
    return {
        "of": {
            "stream": inputs.stream.name,
            "split": split,
            "split_by": inputs.split_by(),
            "normalisation": sha256_bytes(b"".join(norm)),
            "sample": SAMPLE,
            "device": kind(inputs.sae.W_dec.device),
            "cpu": torch.backends.cpu.get_cpu_capability(),
        },
        "inputs": {ACTIVATIONS: inputs.digests[ACTIVATIONS]},
        "code": code,
        "versions": {"numpy": np.__version__, "torch": torch.__version__},
    }


def _write(inputs: Inputs, key: str, description: dict[str, Any], pca: Pca) -> None:
    folder, name = inputs.activations.path, baseline_tensors(key)
    arrays = {"mean": pca.mean.numpy(), "components": pca.directions.T.contiguous().numpy()}
    write_bytes(folder / name, save({**arrays, "n_fit": np.array([pca.n_fit], np.int64)}))
    entry = file_entry(folder / name, name)
    write_json(folder / baseline_json(key), {**description, "files": [entry]})


def _read(inputs: Inputs, key: str, description: dict[str, Any]) -> Pca | None:
    """Read what `_write` has written; None if it isn't complete or has another description."""
    folder, name = inputs.activations.path, baseline_tensors(key)
    try:
        said = read_json(folder / baseline_json(key))
        if said != {**description, "files": [file_entry(folder / name, name)]}:
            return None
    except (UserError, OSError):
        return None
    arrays = load_file(folder / name)
    # Copy for PyTorch's alignment in memory and the layout from `fit`: bits depend on both.
    mean, components = (torch.from_numpy(arrays[n]).clone() for n in ("mean", "components"))
    return Pca(mean, components.T, int(arrays["n_fit"][0]))


def evaluate(
    pca: Pca, vectors: Iterator[torch.Tensor], rank: int, scale: torch.Tensor, fitted_on: str
) -> dict[str, Any]:
    """`nmse` if ``rank`` components are kept, in the SAE's space and in raw space.

    Args:
        vectors: (b, d) float64 each; scale: (d,) float64, the SAE's norm_scale.
        fitted_on: the split that ``pca`` was fitted on.
    """
    basis = pca.directions[:, :rank]
    inside = metrics.ReconstructionMetrics(pca.mean.numpy())
    raw = metrics.ReconstructionMetrics((pca.mean * scale).numpy())
    for x in vectors:
        reconstruction = (x - pca.mean) @ basis @ basis.T + pca.mean
        nothing = np.zeros(len(x))
        inside.update(x.numpy(), reconstruction.numpy(), nothing, nothing)
        raw.update((x * scale).numpy(), (reconstruction * scale).numpy(), nothing, nothing)
    return {
        "pca_nmse": metrics.nmse(inside.sums),
        "pca_nmse_raw": metrics.nmse(raw.sums),
        "pca_rank": rank,
        "pca_n_fit": pca.n_fit,
        "pca_fit_on": fitted_on,
        "pca_n_eval": inside.sums.n,
    }


def pca_figures(
    inputs: Inputs, splits: dict[str, dict[str, Any] | None], code: str
) -> dict[str, dict[str, Any]]:
    """Figures of the baseline, by split, for each split that isn't empty.

    The baseline is fitted on the training split, as the dictionary was. If other images are
    analysed, there are no training vectors here. Then it is fitted on those images, which is an
    advantage for it.

    Args:
        splits: figures of each split (`n_vectors`, `l0`), or None for an empty one.
        code: digest of the stage's code.
    """
    here = {name: figures for name, figures in splits.items() if figures}
    fitted_on = "train" if "train" in here else next(iter(here))
    scale = inputs.sae.norm_scale.cpu().double()
    # The last digits of float64 products depend on the number of threads.
    with one_thread():
        pca = shared(inputs, fitted_on, here[fitted_on]["n_vectors"], code)
        found = {}
        for purpose, (name, figures) in enumerate(here.items(), 1):
            rank = min(round(figures["l0"]), inputs.sae.d)
            vectors = sample(inputs, name, figures["n_vectors"], purpose)
            found[name] = evaluate(pca, vectors, rank, scale, fitted_on)
    return found
