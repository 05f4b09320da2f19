"""Compares dictionaries: weights, curves, metrics, and what another seed would have changed."""

import json
from typing import Any

import numpy as np

from saev.parity.lab import Made
from saev.parity.measures import distances
from saev.parity.verdict import Level, Verdict
from saev.settings.parity import ParitySettings
from saev.train.artifact import CHECKPOINT, CURVE

METRICS = ("nmse", "l0")
DECODER = "W_dec"
BLOCK = 1024
SHOWN = 3
"""Metrics that a text names: those that changed most."""


def compare_train(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two trainings, without the noise of seeds: see `within_noise`."""
    from safetensors.numpy import load_file

    old, new = (load_file(made.folder / CHECKPOINT) for made in (a, b))
    found = distances.arrays(old, new, tolerance=settings.trained)
    curves = [_curve(made) for made in (a, b)]
    texts = list(found.texts)
    level = found.level
    step = _first_difference(*curves)
    if step is not None:
        texts.append(step)
        level = max(level, Level.ROUNDING)
    told = [_metrics(made) for made in (a, b)]
    far = {k: _apart(told[0].get(k), told[1].get(k)) for k in sorted({*told[0], *told[1]})}
    worst = max(far.values(), default=0.0)
    if worst > 10 * settings.trained:
        level = Level.DIFFERENT
    if worst:
        most = sorted((k for k in far if far[k]), key=lambda k: -far[k])[:SHOWN]
        texts.insert(0, "; ".join(_change(k, told) for k in most))
    figures: dict[str, Any] = {f"old.{k}": v for k, v in told[0].items()}
    figures |= {f"new.{k}": v for k, v in told[1].items()}
    if level > Level.BIT_EQUAL and DECODER in old and DECODER in new:
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


def _curve(made: Made) -> list[dict[str, Any]]:
    lines = (made.folder / CURVE).read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _first_difference(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> str | None:
    for one, other in zip(a, b, strict=False):
        if one != other:
            return f"the curves part at step {other.get('step', '?')}"
    return None if len(a) == len(b) else f"the curve has {len(b)} lines, before {len(a)}"


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
