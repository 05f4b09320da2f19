"""The plan: settings resolved into directories, parameters and sizes, once a run.

Only Snakemake's main process looks at `config.yaml`, at folders of pictures and at the code. It writes
what it found to `results/.plans/<digest>.json`; jobs, also those on other machines, read that file. So
a picture added or a setting edited while a run is under way doesn't disturb it.
"""

import hashlib
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from saev.artifacts.analysis import PART
from saev.artifacts.images import manifest_summary, write_manifest
from saev.code import code_digest
from saev.errors import UserError
from saev.files import canonical_json, read_json, sha256_file, to_json, write_bytes
from saev.groups import groups
from saev.settings.base import digest
from saev.settings.config import Config, RunSettings, parse
from saev.settings.vit import WEIGHT_FILES, VitSettings
from saev.sources import open_source

KINDS = ("images", "vit", "sae", "analysis", "reference")
RECORDING_LIBRARIES = ("torch", "open_clip_torch", "timm", "pillow")


class Plan:
    """What a run of the workflow will make; see `resolve` for how it comes about.

    Attributes:
        data: the content of the plan's file: ``components`` (by kind and directory name), ``runs``,
            ``specs`` (the rules' parameters) and ``compute``.
    """

    def __init__(self, data: dict[str, Any], results: str = "results") -> None:
        self.data = data
        self.results = results

    def save(self) -> Path:
        """Write the plan under the results, unless it is there already; return its path."""
        path = Path(self.results, ".plans", self.file_name)
        if not path.exists():
            write_bytes(path, to_json(self.data))
        return path

    @property
    def file_name(self) -> str:
        """What its file is called: by its content."""
        return f"{hashlib.sha256(to_json(self.data)).hexdigest()[:16]}.json"

    @staticmethod
    def load(path: str, results: str = "results") -> "Plan":
        """Read a plan.

        Raises:
            UserError: it isn't there.
        """
        return Plan(read_json(path), results)

    @property
    def runs(self) -> list[dict[str, str]]:
        """Directory names of each run: images, vit, sae, analysis, and ``on`` (images looked at)."""
        return self.data["runs"]

    def directories(self, *kinds: str) -> list[str]:
        """Distinct directories of all runs, nested in the order of ``kinds``."""
        paths = ["/".join([self.results, *(run[kind] for kind in kinds)]) for run in self.runs]
        return list(dict.fromkeys(paths))

    def component(self, kind: str, name: str) -> dict[str, Any]:
        """What is known of one directory: ``settings`` and what the rules ask for."""
        return self.data["components"][kind][name]

    def names(self, kind: str) -> list[str]:
        """Directory names of all components of a kind."""
        return list(self.data["components"][kind])

    def n_shards(self, images: str, vit: str) -> int:
        """How many shards (jobs) a recording has."""
        shard = self.component("vit", vit)["shard_images"]
        return math.ceil(self.component("images", images)["n_images"] / shard)

    def n_parts(self, images: str) -> int:
        """How many parts (jobs) an analysis of these images has."""
        return math.ceil(self.component("images", images)["n_images"] / PART)


def resolve(raw: dict[str, Any], results: str = "results") -> Plan:
    """Resolve settings as read from YAML.

    Every component gets a directory name: its own name and the digest of its essential settings,
    completed with what they refer to (a fingerprint of a folder's listing, the SHA-256 of a weights
    file or a label table), so that another content is another directory.

    Raises:
        UserError: the settings have problems, or what they refer to isn't there.
    """
    config = parse(raw)
    hashes = _Hashes(Path(results, ".plans", "hashes.json"))
    components: dict[str, dict[str, Any]] = {k: {} for k in KINDS}
    runs = []
    for run in config.runs:
        images = _images(run.images, config, components, results)
        vit = _vit(run, config, components, hashes)
        sae_settings = config.sae[run.sae].essential()
        sae = _put(components, "sae", run.sae, sae_settings, {})
        on = config.analysis[run.analysis].on
        on_images = _images(on, config, components, results) if on else images
        analysis = _analysis(run.analysis, config, components, hashes, on_images if on else None)
        here = {"images": images, "vit": vit, "sae": sae, "analysis": analysis, "on": on_images}
        if run.reference is not None:
            here["reference"] = _reference(run.reference, config, components, hashes)
        runs.append(here)
    hashes.save()
    unique = list({canonical_json(run): run for run in runs}.values())
    data = {
        "components": components,
        "runs": unique,
        "specs": _specs(config, components),
        "compute": _compute(config, components) | {"together": groups(config, unique, components)},
    }
    return Plan(data, results)


def _put(
    components: dict[str, Any], kind: str, name: str, settings: dict[str, Any], more: dict[str, Any]
) -> str:
    directory = f"{name}-{digest(settings)}"
    components[kind][directory] = {"entry": name, "settings": settings, **more}
    return directory


def _images(name: str, config: Config, components: dict[str, Any], results: str) -> str:
    for directory, known in components["images"].items():
        if known["entry"] == name:
            return directory
    settings = config.images[name]
    essential = settings.essential()
    source = open_source(settings)
    more = {
        "n_images": settings.n_images,
        "ready": f"{settings.folder}.json" if settings.made else None,
    }
    if settings.n_images is not None:
        return _put(components, "images", name, essential, more)
    try:
        essential["fingerprint"] = fingerprint = source.fingerprint()
        directory = _put(components, "images", name, essential, more)
        kept = Path(results, ".plans", f"{directory}.parquet")
        if not kept.exists():
            write_manifest(kept, source, fingerprint)
        components["images"][directory]["n_images"] = manifest_summary(kept).n_images
    except UserError as error:
        raise UserError(f"images.{name}: {error}") from error
    return directory


def _vit(run: RunSettings, config: Config, components: dict[str, Any], hashes: "_Hashes") -> str:
    settings = config.vit[run.vit]
    essential = settings.essential()
    weights = settings.weights or ""
    _check_depth(run.vit, settings)
    for field in ("model", "weights"):
        path = getattr(settings, field) or ""
        is_file = path.endswith(".json") if field == "model" else path.endswith(WEIGHT_FILES)
        if not is_file or (field == "weights" and settings.weights_sha256):
            continue
        if not Path(path).is_file():
            raise UserError(f"vit.{run.vit}.{field}: there is no file {path}")
        essential[f"{field}_sha256"] = hashes.of(path)
    more = {
        "shard_images": settings.shard_images,
        "ready": f"{weights}.json" if settings.made else None,
    }
    return _put(components, "vit", run.vit, essential, more)


def _check_depth(name: str, settings: VitSettings) -> None:
    """Refuse a layer that the tower doesn't have, where its depth is known without loading it."""
    depth = vision_config(settings.model).get("layers")
    if isinstance(depth, int):
        for layer in settings.layers:
            if not -depth <= layer < depth:
                raise UserError(
                    f"vit.{name}.layers: {layer} is out of range: {settings.model} has {depth} "
                    f"blocks, 0 to {depth - 1} (or -{depth} to -1)"
                )


def vision_config(model: str) -> dict[str, Any]:
    """Shape of an open_clip tower by its configuration; empty of a hub or timm name.

    Those are checked by the recording, when it has loaded the tower.
    """
    from importlib.util import find_spec

    path = Path(model)
    if path.suffix != ".json":
        found = find_spec("open_clip")
        if found is None or found.origin is None:
            return {}
        path = Path(found.origin).parent / "model_configs" / f"{model}.json"
    try:
        config = json.loads(path.read_bytes())
        return {"embed_dim": config.get("embed_dim"), **config["vision_cfg"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _analysis(
    name: str,
    config: Config,
    components: dict[str, Any],
    hashes: "_Hashes",
    on_directory: str | None,
) -> str:
    settings = config.analysis[name]
    essential = settings.essential()
    if on_directory:
        essential["on"] = on_directory
    for label, source in settings.labels.items():
        if source.table is None:
            continue
        if source.sha256 is None:
            if not Path(source.table).is_file():
                raise UserError(
                    f"analysis.{name}.labels.{label}.table: there is no file {source.table}"
                )
            essential["labels"][label]["sha256"] = hashes.of(source.table)
    return _put(components, "analysis", name, essential, {})


def _reference(name: str, config: Config, components: dict[str, Any], hashes: "_Hashes") -> str:
    settings = config.references[name]
    essential = settings.essential()
    if settings.sha256 is None:
        if not Path(settings.curve).is_file():
            raise UserError(f"references.{name}.curve: there is no file {settings.curve}")
        essential["sha256"] = hashes.of(settings.curve)
    return _put(components, "reference", name, essential, {})


def _specs(config: Config, components: dict[str, Any]) -> dict[str, Any]:
    """The one parameter of each rule: settings and code, as a string with sorted keys."""
    modules = {
        "images": "saev.images",
        "vit": "saev.activations",
        "sae": "saev.train",
        "analysis": "saev.analyze",
        "reference": "saev.compare",
    }
    specs: dict[str, Any] = {}
    for kind, module in modules.items():
        code = code_digest(module)
        extra: dict[str, Any] = {}
        if kind == "vit":
            extra["versions"] = {name: version(name) for name in RECORDING_LIBRARIES}
        specs[kind] = {
            directory: canonical_json({"code": code, "settings": known["settings"], **extra})
            for directory, known in components[kind].items()
        }
    page = code_digest("saev.dashboard.__main__")
    specs["dashboard"] = {
        directory: canonical_json(
            {"code": page, "settings": {"credit": config.images[known["entry"]].credit}}
        )
        for directory, known in components["images"].items()
    }
    sweeps = {
        entry: [d for d, known in components["sae"].items() if known["entry"] in points]
        for entry, points in config.sweeps.items()
    }
    compared = {"sweeps": sweeps} if sweeps else {}
    specs["gallery"] = canonical_json({"code": page, "settings": compared})
    return specs


def _compute(config: Config, components: dict[str, Any]) -> dict[str, Any]:
    return config.compute.model_dump() | {
        "on_bad_image": {
            directory: config.images[known["entry"]].on_bad_image
            for directory, known in components["images"].items()
        }
    }


class _Hashes:
    """SHA-256 of files, remembered by size and modification time: weights are large."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = {}
        if path.exists():
            try:
                self.known = json.loads(path.read_bytes())
            except ValueError:
                self.known = {}
        self.before = dict(self.known)

    def of(self, path: str) -> str:
        """SHA-256 of the file at ``path``."""
        stat = Path(path).stat()
        key = f"{Path(path).resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
        if key not in self.known:
            self.known[key] = sha256_file(path)
        return self.known[key]

    def save(self) -> None:
        if self.known != self.before:
            write_bytes(self.path, to_json(self.known))
