"""Amounts of work that take long, and how fast this machine did similar work before."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import RUN
from saev.settings.elsewhere import CHECKPOINT, AnySaeEntry
from saev.tools import tree
from saev.tools.sizes import positions
from saev.tools.tower_shapes import recorded, recordings, same_tower, tower_shape
from saev.workflow import jobs
from saev.workflow.plan import Plan


class Work(NamedTuple):
    """An amount of work (None if unknown), and the rates of similar work on this machine."""

    what: str
    amount: int | None
    unit: str
    rates: list[float]


def work(plan: Plan, missing: list[jobs.Job]) -> list[Work]:
    """The work that takes long (recording, training, analysis), with rates of similar work here."""
    results, found = Path(plan.results), []
    for folder, n_images in positions(plan, missing).items():
        settings = plan.identity("vit", folder.name)
        rates = [
            rate
            for other in recordings(results)
            if (known := recorded(other)) and same_tower(known["settings"], settings)
            for rate in _rates(sorted(other.glob("runs/shard-*.json")), "images_per_second")
        ]
        found.append(Work(f"record {_short(folder)}", n_images, "images", rates))
    done = Done(results)
    for job in missing:
        parts = job.folder.relative_to(results).parts
        if (
            job.rule == "train_sae"
            and CHECKPOINT not in plan.component("sae", parts[2])["settings"]
        ):
            found.append(_training(plan, done, job.folder, *parts))
        if job.rule == "merge_analysis":
            found.append(_analysis(plan, done, job.folder, *parts))
    return found


def _short(folder: Path) -> str:
    return "/".join(folder.parts[-2:])


class Done:
    """The trained dictionaries and the rates at which they were made, read once for all jobs."""

    def __init__(self, results: Path) -> None:
        self._settings: dict[Path, dict[str, Any]] = {}
        self._rates: dict[tuple[Any, ...], list[float]] = {}
        for recording in recordings(results):
            for folder in tree.children(recording):
                with suppress(UserError):
                    self._settings[folder] = tree.read(folder, "train")["settings"]

    def rates(
        self, settings: AnySaeEntry, names: tuple[str, ...], runs: str, rate: str
    ) -> list[float]:
        """A rate from the ``runs`` of dictionaries that have the same values of some settings."""
        wanted = [getattr(settings, name, None) for name in names]
        key = (rate, *wanted)
        if key not in self._rates:
            alike = [
                folder
                for folder, known in self._settings.items()
                if [known.get(name) for name in names] == wanted
            ]
            paths = [path for folder in alike for path in sorted(folder.glob(runs))]
            self._rates[key] = _rates(paths, rate)
        return self._rates[key]


def _training(plan: Plan, done: Done, folder: Path, images: str, vit: str, sae: str) -> Work:
    settings = plan.settings("sae", sae)
    vectors = _vectors(plan, images, vit, settings)
    kept = settings.epochs * (1 - settings.held_out)
    amount = None if vectors is None else round(vectors * kept)
    names = ("architecture", "n_latents", "batch_size", "tokens")
    what = f"train {_short(folder)}"
    rates = done.rates(settings, names, RUN, "examples_per_second")
    return Work(what, amount, "vectors", rates)


def _analysis(
    plan: Plan, done: Done, folder: Path, images: str, vit: str, sae: str, name: str
) -> Work:
    settings = plan.settings("sae", sae)
    looked_at = plan.component("analysis", name)["on"] or images
    names = ("architecture", "n_latents", "tokens")
    what = f"analyse {_short(folder)}"
    amount = _vectors(plan, looked_at, vit, settings)
    rates = done.rates(settings, names, f"*/{RUN}", "vectors_per_second")
    return Work(what, amount, "vectors", rates)


def _vectors(plan: Plan, images: str, vit: str, sae: AnySaeEntry) -> int | None:
    n_images = plan.component("images", images)["n_images"]
    each = tower_shape(plan, vit).patches if sae.tokens == "patches" else 1
    return None if each is None else n_images * each


def _rates(paths: list[Path], name: str) -> list[float]:
    """Rates on this machine, from files like `run.json`."""
    found = []
    for path in paths:
        try:
            run = read_json(path)
        except UserError:
            continue
        if isinstance(run, dict) and run.get("host") == socket.gethostname() and run.get(name):
            found.append(float(run[name]))
    return found
