"""All of `config.yaml`: named components, and the runs that combine them."""

import json
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, StringConstraints, TypeAdapter, ValidationError

from saev.core.errors import UserError, listed
from saev.settings.analysis import AnalysisSettings
from saev.settings.baseline_runs import Entries, shuffled_of, with_baselines
from saev.settings.component import Settings, digest
from saev.settings.compute import ComputeSettings
from saev.settings.elsewhere import AnySaeEntry
from saev.settings.evaluation import WORD_IMAGES, EvaluationSettings
from saev.settings.explained import explain
from saev.settings.images import AnyImagesSettings
from saev.settings.near import nearest
from saev.settings.parity import ParitySettings
from saev.settings.presets import expanded
from saev.settings.references import ReferenceSettings
from saev.settings.sweep import NAME_PATTERN, expand
from saev.settings.train import TrainSettings
from saev.settings.vit import VitSettings
from saev.settings.yaml_surprises import surprises

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class RunSettings(Settings):
    """One run: one entry of each kind, by name."""

    images: Name = Field(description="An entry of `images`.")
    vit: Name = Field(description="An entry of `vit`.")
    sae: Name = Field(description="An entry of `sae`.")
    analysis: Name = Field(description="An entry of `analysis`.")
    evaluation: Name | None = Field(
        None,
        description="An entry of `evaluation`: what to measure of the dictionary.",
    )
    baselines: tuple[
        Literal["untrained_tower", "untrained_dictionary", "shuffled_activations"], ...
    ] = Field(
        (),
        description="What to make beside the run. `untrained_tower` and `untrained_dictionary`: "
        "the same run with random weights, in entries that end in `.untrained`. "
        "`shuffled_activations`: two dictionaries trained on shuffled activations, whose "
        "stability stands beside that of the run. Runs that ask for the same one share it.",
    )
    reference: Name | None = Field(
        None,
        description="An entry of `references`. `snakemake compare` checks the training against it.",
    )


COMPONENTS = {
    "images": "images",
    "vit": "vit",
    "sae": "sae",
    "analysis": "analysis",
    "evaluation": "evaluation",
    "reference": "references",
}
"""The section of `config.yaml` for each kind of component."""


class Config(Settings):
    """Everything that `config.yaml` and files given with `--configfile` may contain."""

    images: dict[Name, AnyImagesSettings] = Field(description="Sets of images.")
    vit: dict[Name, VitSettings] = Field(description="Towers, and what to record from them.")
    sae: dict[Name, AnySaeEntry] = Field(
        description="Dictionaries, and how to train them or where to find them."
    )
    analysis: dict[Name, AnalysisSettings] = Field(description="Ways to analyse a dictionary.")
    evaluation: dict[Name, EvaluationSettings] = Field(
        {}, description="What to measure of a dictionary."
    )
    references: dict[Name, ReferenceSettings] = Field(
        {}, description="Curves that trainings should match."
    )
    runs: tuple[RunSettings, ...] = Field(
        min_length=1, description="What to make. Entries that no run names are ignored."
    )
    compute: ComputeSettings = Field(
        ComputeSettings(), description="The machine. Changes no result."
    )
    train: TrainSettings = Field(
        TrainSettings(), description="How to run trainings. Changes no result."
    )
    parity: ParitySettings = Field(
        ParitySettings(), description="How `saev parity` compares. Changes no result."
    )
    _sweeps: dict[str, list[str]] = PrivateAttr(default_factory=dict)

    @property
    def sweeps(self) -> dict[str, list[str]]:
        """Names of the points of each swept entry of `sae`."""
        return self._sweeps


SECTIONS: dict[str, type[Settings]] = {
    "": Config,
    "vit": VitSettings,
    "analysis": AnalysisSettings,
    "evaluation": EvaluationSettings,
    "references": ReferenceSettings,
    "runs": RunSettings,
    "compute": ComputeSettings,
    "train": TrainSettings,
    "parity": ParitySettings,
}
"""The class of each section's entries, but for those with variants; under "", that of all."""


def parse(raw: dict[str, Any]) -> Config:
    """Check settings as read from YAML.

    Raises:
        UserError: lists all problems, each with key, value and what is allowed.
    """
    raw = _with_on(raw)
    misread = list(surprises(raw))
    if misread:
        raise UserError(listed(misread, "the settings have problems:"))
    raw, sweeps = expand(raw)
    raw = expanded(raw)
    try:
        config = Config.model_validate_json(json.dumps(raw, allow_nan=True))
    except ValidationError as error:
        found = error.errors(include_url=False)
        named = {e["loc"][:2] for e in found if "[key]" in e["loc"]}
        # What else is wrong with an entry is said once its name can be used.
        shown = [e for e in found if e["loc"][:2] not in named or "[key]" in e["loc"]]
        problems = explain(shown, SECTIONS)
        raise UserError(listed(problems, "the settings have problems:")) from None
    _check_points(config, sweeps)
    _check_references(config, sweeps)
    runs = tuple(one for run in config.runs for one in _stands_for(run, sweeps))
    # This copy isn't validated, and needn't be: names are those of entries, which were.
    whole = with_baselines(Entries(runs, config.vit, config.sae))
    config = config.model_copy(update=whole._asdict())
    config._sweeps = sweeps
    return config


def parse_component(kind: str, values: dict[str, Any]) -> Any:
    """The settings object of one component, from values that were already checked."""
    return _entries(kind).validate_json(json.dumps({kind: values}))[kind]


@cache
def _entries(kind: str) -> TypeAdapter[Any]:
    """What checks the entries of a section. It takes milliseconds to make."""
    return TypeAdapter(Config.model_fields[COMPONENTS[kind]].annotation)  # type: ignore[arg-type]


def _stands_for(run: RunSettings, sweeps: dict[str, list[str]]) -> list[RunSettings]:
    """The runs that ``run`` stands for: one for each point of a swept entry."""
    return [run.model_copy(update={"sae": name}) for name in sweeps.get(run.sae, [run.sae])]


def _check_points(config: Config, sweeps: dict[str, list[str]]) -> None:
    """Refuse two points of a sweep that have equal settings."""
    problems = []
    for entry, names in sweeps.items():
        seen: dict[str, str] = {}
        for name in names:
            first = seen.setdefault(digest(config.sae[name].essential()), name)
            if first != name:
                problems.append(
                    f"sae.{entry}.sweep: {first!r} and {name!r} have equal settings: remove one"
                )
    if problems:
        raise UserError(listed(problems, "the settings have problems:"))


def _with_on(raw: dict[str, Any]) -> dict[str, Any]:
    """Restore the key ``on``, which YAML 1.1 reads as ``true``."""
    analysis = raw.get("analysis")
    if not isinstance(analysis, dict):
        return raw
    named = {
        name: {"on" if key is True else key: value for key, value in entry.items()}
        if isinstance(entry, dict)
        else entry
        for name, entry in analysis.items()
    }
    return {**raw, "analysis": named}


def _check_references(config: Config, sweeps: dict[str, list[str]]) -> None:
    problems = []
    for number, run in enumerate(config.runs):
        for kind in ("images", "vit", "sae", "analysis"):
            name, known = getattr(run, kind), list(getattr(config, kind))
            known += list(sweeps) if kind == "sae" else []
            if name not in known:
                problems.append(
                    f"runs[{number}].{kind}: there is no {name!r} under {kind}"
                    + nearest(name, known)
                )
        for kind in ("evaluation", "reference"):
            section, name = COMPONENTS[kind], getattr(run, kind)
            known = list(getattr(config, section))
            if name is not None and name not in known:
                problems.append(
                    f"runs[{number}].{kind}: there is no {name!r} under {section}"
                    + nearest(name, known)
                )
        if problems:
            continue
        for one in _stands_for(run, sweeps):
            vit, sae = config.vit[one.vit], config.sae[one.sae]
            where = f"runs[{number}] (vit {one.vit!r}, sae {one.sae!r})"
            if sae.tokens not in vit.tokens:
                problems.append(
                    f"{where}: the dictionary trains on {sae.tokens}, but the recording keeps "
                    f"{list(vit.tokens)}"
                )
            # 11 and -1 may be the same block. The plan knows, because it knows how many there are.
            if sae.layer is not None and not any(
                sae.layer == layer or (sae.layer < 0) != (layer < 0) for layer in vit.layers
            ):
                problems.append(
                    f"{where}: the dictionary trains on layer {sae.layer}, but the recording keeps "
                    f"layers {list(vit.layers)}"
                )
        if run.evaluation is not None:
            labels = list(config.analysis[run.analysis].labels)
            problems += [
                f"evaluation.{run.evaluation}.{key}: analysis.{run.analysis}, which runs[{number}] "
                f"uses with it, has no label {label!r}{nearest(label, labels)}"
                for key, label in config.evaluation[run.evaluation].labels_used()
                if label not in labels
            ]
            shown = config.analysis[run.analysis].top_images
            if config.evaluation[run.evaluation].vocabulary and shown < WORD_IMAGES:
                problems.append(
                    f"evaluation.{run.evaluation}.vocabulary: needs {WORD_IMAGES} top images of a "
                    f"latent, but analysis.{run.analysis}.top_images, which runs[{number}] uses "
                    f"with it, is {shown}"
                )
        on = config.analysis[run.analysis].on
        if on is not None and on not in config.images:
            problems.append(
                f"analysis.{run.analysis}.on: there is no {on!r} under images"
                + nearest(on, list(config.images))
            )
    if problems:
        raise UserError(listed(problems, "the settings have problems:"))


def unused(config: Config) -> list[str]:
    """Entries that no run names, as ``images.birds``."""
    used = {(kind, getattr(run, kind)) for run in config.runs for kind in COMPONENTS}
    used |= {("images", config.analysis[run.analysis].on) for run in config.runs}
    used |= {("sae", name) for run in config.runs for name in shuffled_of(run, config.sae)}
    return [
        f"{section}.{name}"
        for kind, section in COMPONENTS.items()
        for name in getattr(config, section)
        if (kind, name) not in used
    ]


def schema() -> dict[str, Any]:
    """The JSON schema of the settings."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }
