"""Compares dictionaries: weights, curves, metrics, and what another seed would have changed."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from saev.parity.lab import Made
from saev.parity.measures import distances
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings
from saev.train.artifact import CHECKPOINT, CURVE

METRICS = ("nmse", "l0")
DECODER = "W_dec"
GIVEN = ("norm_mean", "norm_scale")
"""Tensors that no step changes."""
BLOCK = 1024
PLANNED = ("lr",)
"""Figures of the curve that depend on the step alone, so no rounding moves them."""
AMPLIFIED, COUNTED = 10, 2
"""How much farther than weights their figures may move, as a multiple, and by how many counts."""
SHOWN = 3
"""Metrics that a text names: those that changed most."""


def compare_train(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two trainings, without the noise of seeds: see `within_noise`."""
    from safetensors.numpy import load_file

    old, new = (load_file(made.folder / CHECKPOINT) for made in (a, b))
    given = [{k: v for k, v in one.items() if k in GIVEN} for one in (old, new)]
    trained = [{k: v for k, v in one.items() if k not in GIVEN} for one in (old, new)]
    found = worst(
        [
            distances.arrays(*given, tolerance=distances.SAME_VALUES),
            distances.arrays(*trained, tolerance=settings.trained, as_wholes=True),
        ]
    )
    # Steps amplify rounding, and only what is trained is rounded by them.
    same = found.level == Level.BIT_EQUAL
    tolerance = settings.rounding if same else AMPLIFIED * settings.trained
    curve = compare_curves(read_curve(a.folder), read_curve(b.folder), settings, same)
    texts, level = [*found.texts, *curve.texts], max(found.level, curve.level)
    told = [_metrics(made) for made in (a, b)]
    far = {k: _apart(told[0].get(k), told[1].get(k)) for k in sorted({*told[0], *told[1]})}
    farthest = max(far.values(), default=0.0)
    if farthest > tolerance:
        level = Level.DIFFERENT
    if farthest:
        most = sorted((k for k in far if far[k]), key=lambda k: -far[k])[:SHOWN]
        texts.insert(0, "; ".join(_change(k, told) for k in most))
    figures: dict[str, Any] = {f"old.{k}": v for k, v in told[0].items()}
    figures |= {f"new.{k}": v for k, v in told[1].items()}
    if not same and DECODER in old and DECODER in new:
        figures["matched_cosine"] = matched_cosine(old[DECODER], new[DECODER])
        texts.append(f"matched decoder cosine {figures['matched_cosine']:.4f}")
    return Verdict(level, tuple(texts), figures)


def within_noise(found: Verdict, seeds: Verdict, settings: ParitySettings) -> Verdict:
    """The verdict on a change of code, given what another seed changes with the old code.

    Args:
        found: the change of code.
        seeds: two seeds of the old code.
    """
    changes, noise = (_changes(one) for one in (found, seeds))
    cosines = [one.figures.get("matched_cosine", 0.0) for one in (found, seeds)]
    inside = cosines[0] >= cosines[1] - 0.02 and all(
        change <= settings.noise * noise.get(name, 0.0) + 1e-12 for name, change in changes.items()
    )
    beside = "another seed: " + ", ".join(
        [*(f"{k} moves by {v:.2g}" for k, v in noise.items()), f"cosine {cosines[1]:.3f}"]
    )
    level = Level.NOISE if inside else Level.DIFFERENT
    return Verdict(level, (*found.texts, beside), found.figures)


def matched_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the rows of ``b`` of the largest cosine to a row of ``a``.

    Args:
        a, b: (n, d) decoder directions.
    """
    a, b = (_unit(values.astype(np.float64)) for values in (a, b))
    best = [(b[i : i + BLOCK] @ a.T).max(axis=1) for i in range(0, len(b), BLOCK)]
    return float(np.concatenate(best).mean())


def _unit(values: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of the curve in the directory of a training, or of its state."""
    lines = (folder / CURVE).read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def compare_curves(
    a: list[dict[str, Any]],
    b: list[dict[str, Any]],
    settings: ParitySettings,
    same_weights: bool,
) -> Verdict:
    """Compare the lines of two curves.

    Args:
        a, b: their lines.
        settings: what counts as the same.
        same_weights: whether the weights are equal bit by bit. Otherwise figures may move as far
            as rounding can move them, and whole numbers by `COUNTED`.
    """
    if a == b:
        return Verdict(Level.BIT_EQUAL)
    tolerance = settings.rounding if same_weights else AMPLIFIED * settings.trained
    count = 0 if same_weights else COUNTED
    if [(line["step"], sorted(line)) for line in a] != [(line["step"], sorted(line)) for line in b]:
        lines = f"{len(b):,} lines, before {len(a):,}"
        return Verdict(Level.DIFFERENT, (f"the curve has other steps or figures ({lines})",))
    parted = ""
    for one, other in zip(a, b, strict=True):
        for name in one:
            if one[name] == other[name]:
                continue
            parted = parted or f"the curves part at step {other['step']}"
            allowed = distances.SAME_VALUES if name in PLANNED else tolerance
            if not _as_good(one[name], other[name], allowed, count):
                text = f"{name} of step {other['step']}: {one[name]} → {other[name]}"
                return Verdict(Level.DIFFERENT, (f"{parted}; {text}",))
    return Verdict(Level.ROUNDING, (parted,))


def _as_good(a: Any, b: Any, tolerance: float, count: int) -> bool:
    if a is None or b is None:
        return False
    if isinstance(a, int) and isinstance(b, int):
        return abs(a - b) <= count
    return _apart(a, b) <= tolerance


def _metrics(made: Made) -> dict[str, float]:
    flat: dict[str, float] = {}

    def collect(value: Any, prefix: str) -> None:
        for key, inner in value.items():
            if isinstance(inner, dict):
                collect(inner, f"{prefix}{key}.")
            elif isinstance(inner, (int, float)) and not isinstance(inner, bool):
                flat[f"{prefix}{key}"] = inner

    collect(made.described["summary"], "")
    return flat


def _apart(a: float | None, b: float | None) -> float:
    if a is None or b is None:
        return float("inf")
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0


def _change(name: str, told: list[dict[str, float]]) -> str:
    a, b = (f"{one[name]:.5g}" if name in one else "none" for one in told)
    return f"{name} {a} → {b}"


def _changes(found: Verdict) -> dict[str, float]:
    names = [k.removeprefix("old.") for k in found.figures if k.startswith("old.")]
    return {
        name: abs(found.figures[f"old.{name}"] - found.figures.get(f"new.{name}", float("inf")))
        for name in names
        if name.split(".")[-1] in METRICS
    }
