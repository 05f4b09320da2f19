"""Resolves components: finds what their settings refer to and names their directories."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.plan_file import PLANS
from saev.evaluate.words import read_words
from saev.images.sources import open_source
from saev.settings.analysis import AnalysisResolved
from saev.settings.baseline_runs import shuffled_of
from saev.settings.component import Settings, completed, digest
from saev.settings.config import COMPONENTS, Config, RunSettings
from saev.settings.elsewhere import ElsewhereResolved, ElsewhereSettings
from saev.settings.evaluation import EvaluationResolved, MasksResolved
from saev.settings.images import ImagesResolved, place
from saev.settings.labels import TableResolved
from saev.settings.near import nearest
from saev.settings.paths import from_here
from saev.settings.references import ReferenceResolved
from saev.settings.sae_base import SaeResolved
from saev.settings.vit import WEIGHT_FILES, VitResolved, VitSettings
from saev.workflow.amounts import require_amounts, require_batch
from saev.workflow.hashes import Hashes
from saev.workflow.known_elsewhere import FromElsewhere, looked_at, require_width
from saev.workflow.known_evaluations import other_seeds, require_embeddings, require_stability
from saev.workflow.known_images import listed
from saev.workflow.known_labels import Labels, Listings, labels_component
from saev.workflow.known_masks import masks_digest
from saev.workflow.known_towers import Facts, Towers, require_layer, without_file

KINDS = (*COMPONENTS, "labels")
"""Kinds of components. Labels have no section of their own: they belong to an analysis."""


class Resolver:
    """Resolves the components of runs, each once.

    Args:
        config: the settings, checked.
        results: the folder of results. Its `.plans` keeps listings and hashes.

    Attributes:
        components: what is known about each, by kind and directory name: its ``entry`` in the
            settings, its ``settings`` (those that can change a result and aren't neutral), what
            they were ``resolved`` to, its ``loose`` settings (those that can't change a result),
            and what the rules need.
    """

    def __init__(self, config: Config, results: str) -> None:
        self.config, self.results = config, results
        self.hashes = Hashes(Path(results, PLANS, "hashes.json"))
        self._towers = Towers(Path(results, PLANS, "towers.json"), self.hashes.module)
        self.components: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.trained: list[dict[str, str]] = []
        """Directory names of dictionaries that only evaluations are compared with."""
        self.plans = Path(results, PLANS)
        self._directories: dict[tuple[str | None, ...], str] = {}
        self._from_elsewhere: dict[str, FromElsewhere] = {}
        self.labels = Labels(self.hashes, self.plans)
        self.listings: dict[str, Listings] = {}
        """By directory of images; none where only a job lists them."""

    def run(self, run: RunSettings) -> dict[str, str]:
        """The directory names of one run's components.

        Raises:
            UserError: something that they refer to doesn't exist.
        """
        require_stability(self.config, run)
        on = self.config.analysis[run.analysis].on
        images = self._once(self._images, run.images)
        on_images = self._once(self._images, on) if on else images
        n_images = self.components["images"][images]["n_images"]
        sae = self.config.sae[run.sae]
        require_amounts(run, sae, n_images)
        vit = self._once(self._vit, run.vit)
        layer, layers = sae.layer, self.config.vit[run.vit].layers
        require_batch(run, sae, n_images, self.towers[run.vit].n_patches)
        where = f"runs (vit {run.vit!r}, sae {run.sae!r})"
        require_layer(where, layer, layers, self.towers[run.vit].n_blocks)
        names = {
            "images": images,
            "vit": vit,
            "sae": self._sae(run, images, vit),
            "analysis": self._once(
                self._analysis, run.analysis, on_images, on_images if on else None
            ),
            "on": on_images,
        }
        labels = self.components["analysis"][names["analysis"]]["labels"]
        if labels is not None:
            names["labels"] = labels
        if run.evaluation is not None:
            names["evaluation"] = self._evaluation(run, images, vit)
        if run.reference is not None:
            names["reference"] = self._once(self._reference, run.reference)
        return names

    def _once(self, find: Callable[..., str], *given: str | None) -> str:
        """The directory name that ``find`` gives, looked for once however many runs share it."""
        key = (find.__name__, *given)
        if key not in self._directories:
            self._directories[key] = find(*given)
        return self._directories[key]

    @cached_property
    def towers(self) -> dict[str, Facts]:
        """What is known about the towers of all runs, by their entry."""
        names = dict.fromkeys(run.vit for run in self.config.runs)
        return self._towers.check({name: self._checkable(name) for name in names})

    def no_text_tower(self, name: str) -> str:
        """Why no text tower belongs to the tower of an entry; empty if one does, or if only
        loading it tells."""
        return self._towers.no_text_tower(self._checkable(name))

    def _checkable(self, name: str) -> VitSettings:
        """The settings of a tower as they are checked: without a file that isn't to be read yet."""
        settings = self.config.vit[name]
        if settings.weights_sha256:
            return without_file(settings)
        return settings.model_copy(update={"weights_sha256": self._weights_sha256(name)})

    def _weights_sha256(self, name: str) -> str | None:
        return self._hash(f"vit.{name}.weights", self.config.vit[name].weights, WEIGHT_FILES)

    def _put(
        self, kind: str, entry: str, settings: Settings, resolved: Settings, **facts: Any
    ) -> str:
        return self._named(kind, entry, settings.essential(), resolved, settings.loose(), facts)

    def _named(
        self,
        kind: str,
        entry: str,
        essential: dict[str, Any],
        resolved: Settings,
        loose: dict[str, Any],
        facts: dict[str, Any],
    ) -> str:
        found = resolved.essential()
        directory = f"{entry}-{digest(completed(essential, found))}"
        known = {"entry": entry, "settings": essential, "resolved": found, "loose": loose}
        self.components[kind][directory] = known | facts
        return directory

    def _images(self, name: str) -> str:
        settings = self.config.images[name].moved(from_here)
        source = open_source(settings)
        if settings.n_images is not None:
            return self._put(
                "images",
                name,
                settings,
                ImagesResolved(),
                n_images=settings.n_images,
                ready=settings.ready,
            )
        lies = place(settings)
        essential = {k: v for k, v in settings.essential().items() if k not in lies}
        try:
            found = listed(name, essential, lies, source, Path(self.results))
        except UserError as error:
            raise UserError(f"images.{name}: {error}") from error
        resolved = ImagesResolved(fingerprint=found.fingerprint)
        facts = {"ready": settings.ready, "n_images": found.n_images, "notes": found.notes}
        loose = settings.loose() | lies
        directory = self._named("images", name, essential, resolved, loose, facts)
        self.listings[directory] = found.listings
        return directory

    def _vit(self, name: str) -> str:
        settings = self.config.vit[name]
        resolved = VitResolved(
            model_sha256=self._hash(f"vit.{name}.model", settings.model, (".json",)),
            weights_sha256=None if settings.weights_sha256 else self._weights_sha256(name),
        )
        return self._put(
            "vit",
            name,
            settings,
            resolved,
            shard_images=settings.shard_images,
            ready=f"{settings.weights}.json" if settings.made else None,
        )

    def _sae(self, run: RunSettings, images: str, vit: str) -> str:
        settings = self.config.sae[run.sae]
        groups = self._groups(run, settings.held_out_by, images) if settings.held_out_by else None
        if isinstance(settings, ElsewhereSettings):
            found = self._elsewhere(run.sae, settings)
            recording = Path(self.results, images, vit)
            require_width(run.sae, found, settings.tokens, self.config.vit[run.vit], recording)
            given = ElsewhereResolved(groups=groups, checkpoint=found.files)
            size = {"n_latents": found.n_latents}
            return self._put("sae", run.sae, settings, given, processes=1, **size)
        resolved = SaeResolved(groups=groups)
        return self._put("sae", run.sae, settings, resolved, processes=settings.processes)

    def _elsewhere(self, name: str, settings: ElsewhereSettings) -> FromElsewhere:
        if name not in self._from_elsewhere:
            self._from_elsewhere[name] = looked_at(name, settings, self.hashes)
        return self._from_elsewhere[name]

    def _groups(self, run: RunSettings, label: str, images: str) -> str:
        """SHA-256 of the groups of images with the same label."""
        where = f"sae.{run.sae}.held_out_by"
        labels = self.config.analysis[run.analysis].labels
        if label not in labels:
            raise UserError(
                f"{where}: analysis.{run.analysis}, which a run uses with it, has no label "
                f"{label!r}{nearest(label, list(labels))}"
            )
        listing = self.listings.get(images)
        if listing is None:
            raise UserError(
                f"{where}: images.{run.images} are listed by a job, so their labels aren't known "
                f"when the workflow starts: leave held_out_by out, or leave out n_images"
            )
        return self.labels.groups(where, label, labels[label], listing.present)

    def _analysis(self, name: str, images: str, on: str | None) -> str:
        settings = self.config.analysis[name]
        listings = self.listings.get(images)
        found = {
            label: self.labels.digest(f"analysis.{name}", label, source, listings)
            for label, source in settings.labels.items()
        }
        labels = {label: TableResolved(sha256=sha256) for label, sha256 in found.items() if sha256}
        resolved = AnalysisResolved(on=on, labels=labels)
        own = labels_component(settings, resolved) if settings.labels else {}
        self.components["labels"] |= own
        shared = next(iter(own), None)
        return self._put("analysis", name, settings, resolved, on=on, labels=shared)

    def _evaluation(self, run: RunSettings, images: str, vit: str) -> str:
        assert run.evaluation is not None
        settings = self.config.evaluation[run.evaluation]
        n_blocks = self.towers[run.vit].n_blocks
        require_embeddings(self.config, run, settings.monosemanticity, n_blocks)
        if settings.zero_shot and (why := self.no_text_tower(run.vit)):
            raise UserError(
                f"evaluation.{run.evaluation}.zero_shot: vit.{run.vit}: {why}. Leave zero_shot out"
            )
        others = other_seeds(self.config, run) if settings.stability else []
        seeds = sorted({self._sae(one, images, vit) for one in others})
        shuffled = [
            self._sae(run.model_copy(update={"sae": name}), images, vit)
            for name in shuffled_of(run, self.config.sae)
        ]
        place = {"images": images, "vit": vit, "on": images}
        self.trained += [{**place, "sae": sae} for sae in shuffled]
        masks = None
        if settings.masks and settings.masks.sha256 is None:
            where = f"evaluation.{run.evaluation}.masks.folder"
            masks = MasksResolved(sha256=masks_digest(where, settings.masks, self.hashes))
        words = self._vocabulary(run, settings.vocabulary) if settings.vocabulary else None
        resolved = EvaluationResolved(
            seeds=tuple(seeds), shuffled=tuple(shuffled), masks=masks, vocabulary=words
        )
        compared = [*seeds, *shuffled]
        return self._put("evaluation", run.evaluation, settings, resolved, seeds=compared)

    def _vocabulary(self, run: RunSettings, path: str) -> str:
        """SHA-256 of a vocabulary that can be read, for a tower with a text tower."""
        where = f"evaluation.{run.evaluation}.vocabulary"
        read_words(where, Path(path))
        if reason := self.no_text_tower(run.vit):
            raise UserError(f"{where}: needs a text tower: vit.{run.vit}: {reason}")
        return self.hashes.of(path)

    def _reference(self, name: str) -> str:
        settings = self.config.references[name]
        sha256 = None
        if settings.sha256 is None:
            sha256 = self._hash(f"references.{name}.curve", settings.curve)
        return self._put("reference", name, settings, ReferenceResolved(sha256=sha256))

    def _hash(self, key: str, path: str | None, endings: tuple[str, ...] = ("",)) -> str | None:
        """SHA-256 of the file that a setting names; None if its extension isn't in ``endings``."""
        if path is None or not path.endswith(endings):
            return None
        return self.hashes.of_setting(key, path)
