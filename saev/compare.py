"""The `compare` stage: does a training follow a reference curve?

python -m saev.compare curves --spec JSON --curve FILE --out DIR    writes verdict.json and comparison.png
python -m saev.compare verdict FILE …                               prints verdicts; status 1 if one differs
"""

import json
import sys
from pathlib import Path
from typing import Any

from saev import logs, stage
from saev.artifacts.compare import FIGURE, VERDICT
from saev.errors import UserError
from saev.files import atomic_path, read_json, sha256_file, write_json
from saev.settings.references import ReferenceSettings

Lines = dict[int, dict[str, Any]]


def main(arguments: list[str]) -> None:
    """Compare two curves, or tell what comparisons have found."""
    if arguments[:1] == ["verdict"]:
        tell([Path(path) for path in arguments[1:]])
        return
    parser = stage.parser(__doc__ or "")
    parser.add_argument("what", choices=("curves",))
    parser.add_argument("--curve", required=True, type=Path, help="the train.jsonl that is judged")
    parser.add_argument("--out", required=True, type=Path, help="directory of the comparison")
    args = parser.parse_args(arguments)
    given = stage.read_spec(args.spec).settings
    settings = ReferenceSettings.model_validate_json(json.dumps(given))
    if settings.sha256 not in (None, sha256_file(settings.curve)):
        raise UserError(
            f"references: {settings.curve} has another SHA-256 than when the workflow was started, or "
            f"than sha256 says: start it again, or correct sha256"
        )
    ours, reference = read_curve(args.curve), read_curve(Path(settings.curve))
    verdict = compare(ours, reference, settings)
    draw(ours, reference, verdict, args.out / FIGURE)
    verdict |= {"curve": str(args.curve), "reference": settings.curve}
    verdict |= {"curve_sha256": sha256_file(args.curve)}
    write_json(args.out / VERDICT, verdict)
    logs.say(sentence(verdict))


def read_curve(path: Path) -> Lines:
    """Lines of a `train.jsonl` by step.

    Raises:
        UserError: it is missing, or a line isn't an object with a step; says which.
    """
    if not path.is_file():
        raise UserError(f"references: there is no curve {path}")
    found: Lines = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            found[int(line["step"])] = line
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number}: not an object with a step ({error!r}): it must be a train.jsonl"
            ) from error
    return found


def compare(ours: Lines, reference: Lines, settings: ReferenceSettings) -> dict[str, Any]:
    """Compare the figures that have a tolerance at each step that both curves have.

    Returns:
        ``agrees``, and by figure: ``tolerance``, ``n_steps`` compared, ``largest`` deviation (a share of the
        reference's value) and the ``step`` of it, ``first_step_out`` of tolerance or None.

    Raises:
        UserError: a figure isn't in both curves at any common step.
    """
    figures: dict[str, Any] = {}
    for name, tolerance in settings.tolerance.items():
        pairs = [
            (step, float(ours[step][name]), float(reference[step][name]))
            for step in sorted(ours.keys() & reference.keys())
            if step >= settings.from_step
            and ours[step].get(name) is not None
            and reference[step].get(name) is not None
        ]
        if not pairs:
            raise UserError(
                f"references: {name!r} is at no common step of both curves. The run has "
                f"{_held(ours)}; {settings.curve} has {_held(reference)}"
            )
        off = [(step, abs(a - b) / abs(b) if b else float(a != b)) for step, a, b in pairs]
        step, largest = max(off, key=lambda item: item[1])
        out = [step for step, deviation in off if deviation > tolerance]
        figures[name] = {
            "tolerance": tolerance,
            "n_steps": len(pairs),
            "largest": largest,
            "step": step,
            "first_step_out": out[0] if out else None,
        }
    agrees = all(figure["first_step_out"] is None for figure in figures.values())
    return {"agrees": agrees, "figures": figures}


def _held(lines: Lines) -> str:
    names = sorted({name for line in lines.values() for name in line if line[name] is not None})
    steps = f"steps {min(lines)} to {max(lines)}" if lines else "no steps"
    return f"{steps} with {', '.join(names) or 'nothing'}"


def sentence(verdict: dict[str, Any]) -> str:
    """A verdict in words."""
    what = "follows" if verdict["agrees"] else "doesn't follow"
    parts = [f"{verdict['curve']} {what} {verdict['reference']}:"]
    for name, found in verdict["figures"].items():
        within = (
            f"within {found['tolerance']:.3g}"
            if found["first_step_out"] is None
            else f"out of {found['tolerance']:.3g} from step {found['first_step_out']}"
        )
        parts.append(
            f"  {name}: {within}, at most {found['largest']:.3g} off (step {found['step']}), "
            f"{found['n_steps']} steps"
        )
    return "\n".join(parts)


def draw(ours: Lines, reference: Lines, verdict: dict[str, Any], path: Path) -> None:
    """Draw both curves of each figure, its tolerance, and the first step out of it."""
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


def tell(paths: list[Path]) -> None:
    """Print verdicts.

    Raises:
        SystemExit: with status 1, if a run doesn't follow its reference.
    """
    verdicts = [read_json(path) for path in paths]
    for path, verdict in zip(paths, verdicts, strict=True):
        print(f"{sentence(verdict)}\n  {path.with_name(FIGURE)}", file=sys.stderr)
    if not all(verdict["agrees"] for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    stage.run(main)
