"""Draws a comparison of two curves."""

from pathlib import Path
from typing import Any

from saev.compare.curves import Lines
from saev.core.files import atomic_path


def draw(ours: Lines, reference: Lines, verdict: dict[str, Any], path: Path) -> None:
    """Draw both curves of each figure, its tolerance, and the first step outside of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(verdict["figures"])
    figure = Figure(figsize=(9, 1 + 2.6 * len(names)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for name, panel in zip(names, figure.subplots(len(names), squeeze=False)[:, 0], strict=True):
        found = verdict["figures"][name]
        steps, values = _points(reference, name)
        near = [abs(value) * found["tolerance"] for value in values]
        low = [v - n for v, n in zip(values, near, strict=True)]
        high = [v + n for v, n in zip(values, near, strict=True)]
        panel.fill_between(steps, low, high, color="#9ca3af", alpha=0.35, label="tolerance")
        panel.plot(steps, values, color="#1f2937", linewidth=1.2, label="reference")
        panel.plot(*_points(ours, name), color="#2563eb", linewidth=1.6, dashes=(4, 2), label="run")
        if found["first_step_out"] is not None:
            text = f"out from step {found['first_step_out']}"
            panel.axvline(found["first_step_out"], color="#ea580c", linewidth=1.2, label=text)
        panel.set_title(name, loc="left", fontsize=10.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=9)
    panel.set_xlabel("step")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _points(lines: Lines, name: str) -> tuple[list[int], list[float]]:
    steps = [step for step in sorted(lines) if lines[step].get(name) is not None]
    return steps, [float(lines[step][name]) for step in steps]
