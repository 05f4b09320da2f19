"""Draws `curves.png` from the lines of `train.jsonl`."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from saev.core.files import atomic_path

TRAINING, HELD_OUT = "#2563eb", "#ea580c"
INK, FAINT = "#1f2937", "#d1d5db"


def draw(lines: list[dict[str, Any]], n_latents: int, title: str, path: str | Path) -> None:
    """Draw loss, nmse, L0 and dead latents over examples. The same lines give the same bytes.

    Args:
        lines: the lines of `train.jsonl`.
        n_latents: size of the dictionary.
        title: what was trained.
        path: the PNG, written atomically.
    """
    figure = Figure(figsize=(10, 6.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=13, fontweight="bold", x=0.01, ha="left")
    panels = figure.subplots(2, 2, sharex=True)
    _panel(panels[0, 0], lines, "loss", "loss", logarithmic=True)
    _panel(panels[0, 1], lines, "nmse", "nmse  (1 = predicting the mean)", logarithmic=True)
    _panel(panels[1, 0], lines, "l0", "L0, active latents of a vector")
    _panel(panels[1, 1], lines, "dead", f"dead latents of {n_latents:,}")
    for panel in panels[1]:
        panel.set_ylim(bottom=0)
    panels[1, 1].yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for panel in panels[1]:
        panel.set_xlabel("training vectors seen", color=INK)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=2, frameon=False, fontsize=10)
    with atomic_path(path) as temporary:
        # Leave out matplotlib's version.
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _panel(
    panel: Axes, lines: list[dict[str, Any]], name: str, title: str, logarithmic: bool = False
) -> None:
    panel.set_title(title, loc="left", fontsize=10.5, color=INK)
    shown = []
    for key, label, colour in (
        (name, "training", TRAINING),
        (f"eval_{name}", "held out", HELD_OUT),
    ):
        points = [(line["examples"], line[key]) for line in lines if line.get(key) is not None]
        if not points:
            continue
        shown += [y for _, y in points]
        examples, values = zip(*points, strict=True)
        style: dict[str, Any] = (
            {"marker": "o", "markersize": 3.2} if key.startswith("eval_") else {}
        )
        panel.plot(examples, values, color=colour, linewidth=1.6, label=label, **style)
        panel.annotate(
            f"{values[-1]:,.3g}" if isinstance(values[-1], float) else f"{values[-1]:,}",
            (examples[-1], values[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
        )
    if logarithmic and shown and min(shown) > 0:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
    panel.margins(x=0.02)
    panel.grid(color=FAINT, linewidth=0.6, which="both", alpha=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK, labelsize=9)
    panel.xaxis.set_major_formatter(lambda value, _: _short(value))


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"
