"""The plan: settings resolved into directories, parameters and sizes, once per run.

Only Snakemake's main process looks at `config.yaml`, at folders of images and at the code. It
writes what it found to `results/.plans/<digest>.json`. Jobs read that file, also on other machines.
So you can add an image or edit a setting during a run without disturbing it.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from saev.analyze.artifact import PART
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import canonical_json, read_json, to_json, write_bytes
from saev.settings import baseline_runs
from saev.settings.component import completed
from saev.settings.config import Config, parse, parse_component
from saev.settings.elsewhere import CHECKPOINT
from saev.workflow.components import Resolver
from saev.workflow.groups import groups
from saev.workflow.known_elsewhere import CONVERSION
from saev.workflow.known_names import named, scored
from saev.workflow.known_projections import projected
from saev.workflow.stage import Stage
from saev.workflow.stages import RULES, STAGES

RECORDING_LIBRARIES = ("torch", "open_clip_torch", "timm", "pillow")
MATCHING = "saev.dashboard.run_matches"
MAKERS = ("demo.clip_weights", "demo.focus_weights", "demo.openmoji")
"""Modules that make the demo's images and weights. Each has a rule in `demo/demo.smk`."""


class Plan:
    """What a run of the workflow will make. `resolve` creates it.

    Attributes:
        data: the content of the plan's file: ``components`` (by kind and directory name), ``runs``,
            ``specs`` (the rules' parameters), ``compute``, ``sources`` (digest of all code),
            ``config`` (the settings as read, which rules of users may look at), and
            ``configfiles`` (what was merged into `config.yaml` for them).
        gpus: how many GPUs this machine has for the jobs. It isn't in the file.
    """

    def __init__(self, data: dict[str, Any], results: str = "results") -> None:
        self.data = data
        self.results = results
        self.gpus = 0

    def save(self) -> Path:
        """Write the plan into the results, if it isn't there yet or damaged. Return its path.

        The plan that a run used last has the latest time.
        """
        written = to_json(self.data)
        path = Path(self.results, ".plans", _file_name(written))
        if not path.exists() or path.read_bytes() != written:
            write_bytes(path, written)
        path.touch()
        return path

    @property
    def file_name(self) -> str:
        """Name of its file, from its content."""
        return _file_name(to_json(self.data))

    @staticmethod
    def load(path: str, results: str = "results") -> "Plan":
        """Read a plan.

        Raises:
            UserError: it is missing.
        """
        if not Path(path).exists():
            raise UserError(
                f"{path}, the plan of this run, is gone (was results/ deleted?): start the "
                f"workflow again"
            )
        return Plan(read_json(path), results)

    @property
    def runs(self) -> list[dict[str, str]]:
        """Directory names of each run: images, vit, sae, analysis, ``on`` (analysed images), and
        ``labels`` and ``reference`` if it has any."""
        return self.data["runs"]

    @property
    def trainings(self) -> list[dict[str, str]]:
        """Directory names of all runs, and of what dictionaries have that only an evaluation is
        compared with: images, vit, sae and ``on``."""
        return [*self.runs, *self.data.get("trained", [])]

    def directories(self, *kinds: str) -> list[str]:
        """Distinct directories of all runs, nested in the order of ``kinds``."""
        paths = ["/".join([self.results, *(run[kind] for kind in kinds)]) for run in self.runs]
        return list(dict.fromkeys(paths))

    def component(self, kind: str, name: str) -> dict[str, Any]:
        """What is known about one directory: ``settings`` and what the rules need."""
        return self.data["components"][kind][name]

    def settings(self, kind: str, name: str) -> Any:
        """The settings of one directory as an object of their class, as the user gave them."""
        known = self.component(kind, name)
        return parse_component(kind, {**known["loose"], **known["settings"]})

    def identity(self, kind: str, name: str) -> dict[str, Any]:
        """Settings and resolved values of one directory, from which its digest is made."""
        known = self.component(kind, name)
        return completed(known["settings"], known["resolved"])

    def spec(self, rule: str, names: Mapping[str, str]) -> str | None:
        """The parameter of a rule's job, given the names of its components; None if there is no
        such job."""
        stage, found = RULES[rule]
        by = (stage.component,) if found.by is None else found.by
        specs: dict[str, str] = self.data["specs"][rule if found.module else stage.name]
        return specs.get("/".join(names[kind] for kind in by if kind))

    def names(self, kind: str) -> list[str]:
        """Directory names of all components of a kind."""
        return list(self.data["components"][kind])

    def n_latents(self, sae: str) -> int:
        """How many latents a dictionary has."""
        known = self.component("sae", sae)
        n: int = known.get("n_latents") or known["settings"]["n_latents"]
        return n

    def n_shards(self, images: str, vit: str) -> int:
        """How many shards (jobs) a recording has."""
        shard = self.component("vit", vit)["shard_images"]
        return math.ceil(self.component("images", images)["n_images"] / shard)

    def n_parts(self, images: str) -> int:
        """How many parts (jobs) an analysis of these images has."""
        return math.ceil(self.component("images", images)["n_images"] / PART)


def _file_name(written: bytes) -> str:
    """Name of the file of a plan, from what is written to it."""
    return f"{hashlib.sha256(written).hexdigest()[:16]}.json"


def resolve(
    raw: dict[str, Any], results: str = "results", configfiles: Iterable[str | Path] = ()
) -> Plan:
    """Resolve settings as read from YAML.

    Every component gets a directory name: its own name and a digest. The digest covers its
    essential settings and the content that they refer to (fingerprint of a folder's listing,
    SHA-256 of a weights file or a label table). So new content means a new directory.

    Args:
        raw: the settings; results: the folder of results.
        configfiles: what was merged into `config.yaml` for them.

    Raises:
        UserError: the settings have problems, or refer to something that doesn't exist.
    """
    config = parse(raw)
    for doubt in baseline_runs.doubts(config.vit):
        logs.say(doubt)
    resolver = Resolver(config, results)
    runs = [resolver.run(run) for run in config.runs]
    unique = list({canonical_json(run): run for run in runs}.values())
    components = resolver.components
    trained = list({canonical_json(one): one for one in resolver.trained}.values())
    together = groups(config, [*unique, *trained], components)
    compute = config.compute.model_dump() | {"together": together}
    data = {
        "components": components,
        "runs": unique,
        "trained": trained,
        "specs": _specs(config, unique, components, resolver),
        "compute": compute,
        "sources": resolver.hashes.sources,
        "config": json.loads(json.dumps(raw, default=str)),
        "configfiles": [os.path.relpath(path) for path in configfiles],
    }
    resolver.hashes.save()
    return Plan(data, results)


def _is_converted(stage: Stage, known: dict[str, Any]) -> bool:
    """Whether the `train` stage converts a dictionary from elsewhere."""
    return stage.component == "sae" and CHECKPOINT in known["settings"]


def _specs(
    config: Config, runs: list[dict[str, str]], components: dict[str, Any], resolver: Resolver
) -> dict[str, Any]:
    """The parameter of each stage's rules: settings and code as JSON with sorted keys."""
    hashes = resolver.hashes
    codes = {stage.name: hashes.stage(stage) for stage in STAGES}
    converting = hashes.module(CONVERSION)
    specs: dict[str, Any] = {}
    for stage in STAGES:
        if stage.component is None:
            continue
        extra: dict[str, Any] = {}
        if stage.name == "activations":
            extra["versions"] = {name: version(name) for name in RECORDING_LIBRARIES}
        specs[stage.name] = {
            directory: canonical_json(
                {
                    "code": converting if _is_converted(stage, known) else codes[stage.name],
                    "settings": known["settings"],
                    "resolved": known["resolved"],
                    **extra,
                }
            )
            for directory, known in components[stage.component].items()
        }
    specs["dashboard"] = {
        directory: canonical_json(
            {"code": codes["dashboard"], "settings": {"credit": known["loose"].get("credit")}}
        )
        for directory, known in components["images"].items()
    }
    sweeps = {
        entry: [d for d, known in components["sae"].items() if known["entry"] in points]
        for entry, points in config.sweeps.items()
    }
    compared = {"sweeps": sweeps} if sweeps else {}
    specs["gallery"] = {"": canonical_json({"code": codes["gallery"], "settings": compared})}
    asked: dict[str, dict[str, Any]] = {
        "score_names": scored(config, runs, components, resolver.no_text_tower),
        "finish_page": named(config, runs, components, hashes),
        "project_directions": projected(config, components),
        "show_sweeps": {"": compared} if sweeps else {},
    }
    for rule, given in asked.items():
        code = hashes.module(RULES[rule][1].module)
        specs[rule] = {
            key: canonical_json({"code": code, "settings": settings})
            for key, settings in given.items()
        }
    specs["matches"] = canonical_json({"code": hashes.module(MATCHING), "settings": compared})
    specs["makers"] = {
        module: canonical_json({"code": hashes.module(module), "settings": {}}) for module in MAKERS
    }
    return specs
