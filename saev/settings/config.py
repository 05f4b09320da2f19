"""All of `config.yaml`: named components, and the runs that combine them."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PrivateAttr, StringConstraints, TypeAdapter, ValidationError

from saev.core.errors import UserError, listed
from saev.settings.analysis import AnalysisSettings, LabelSettings
from saev.settings.component import Settings, digest
from saev.settings.compute import ComputeSettings
from saev.settings.images import SOURCE_SETTINGS, AnyImagesSettings
from saev.settings.near import did_you_mean, nearest
from saev.settings.presets import expanded
from saev.settings.references import ReferenceSettings
from saev.settings.sae import SAE_SETTINGS, AnySaeSettings
from saev.settings.sweep import NAME_PATTERN, expand
from saev.settings.train import TrainSettings
from saev.settings.vit import VitSettings
from saev.settings.yaml_surprises import quote, surprises

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Variants(NamedTuple):
    """The classes that an entry of a section can have."""

    told_by: str
    """The key that tells them apart."""
    classes: Mapping[str, type[Settings]]


VARIANTS = {
    "images": Variants("source", SOURCE_SETTINGS),
    "sae": Variants("architecture", SAE_SETTINGS),
}


class RunSettings(Settings):
    """One run: one entry of each kind, by name."""

    images: Name = Field(description="An entry of `images`.")
    vit: Name = Field(description="An entry of `vit`.")
    sae: Name = Field(description="An entry of `sae`.")
    analysis: Name = Field(description="An entry of `analysis`.")
    reference: Name | None = Field(
        None,
        description="An entry of `references`. `snakemake compare` checks the training against it.",
    )


COMPONENTS = {
    "images": "images",
    "vit": "vit",
    "sae": "sae",
    "analysis": "analysis",
    "reference": "references",
}
"""The section of `config.yaml` for each kind of component."""


class Config(Settings):
    """Everything that `config.yaml` and files given with `--configfile` may contain."""

    images: dict[Name, AnyImagesSettings] = Field(description="Sets of images.")
    vit: dict[Name, VitSettings] = Field(description="Towers, and what to record from them.")
    sae: dict[Name, AnySaeSettings] = Field(description="Dictionaries, and how to train them.")
    analysis: dict[Name, AnalysisSettings] = Field(description="Ways to analyse a dictionary.")
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
    _sweeps: dict[str, list[str]] = PrivateAttr(default_factory=dict)

    @property
    def sweeps(self) -> dict[str, list[str]]:
        """Names of the points of each swept entry of `sae`."""
        return self._sweeps


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
        problems = [_explain(e) for e in shown]
        raise UserError(listed(problems, "the settings have problems:")) from None
    _check_points(config, sweeps)
    _check_references(config, sweeps)
    runs = tuple(one for run in config.runs for one in _stands_for(run, sweeps))
    # This copy isn't validated, and needn't be: it only replaces names by names.
    config = config.model_copy(update={"runs": runs})
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
        if run.reference is not None and run.reference not in config.references:
            problems.append(
                f"runs[{number}].reference: there is no {run.reference!r} under references"
                + nearest(run.reference, list(config.references))
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
        on = config.analysis[run.analysis].on
        if on is not None and on not in config.images:
            problems.append(
                f"analysis.{run.analysis}.on: there is no {on!r} under images"
                + nearest(on, list(config.images))
            )
    if problems:
        raise UserError(listed(problems, "the settings have problems:"))


def _model_at(location: tuple[int | str, ...]) -> type[Settings]:
    """The settings class that the last key of a problem's path belongs to."""
    kinds: dict[str, type[Settings]] = {
        "vit": VitSettings,
        "analysis": AnalysisSettings,
        "compute": ComputeSettings,
        "train": TrainSettings,
        "runs": RunSettings,
        "references": ReferenceSettings,
    }
    section = str(location[0])
    if len(location) == 1:
        return Config
    if "labels" in location[:-2]:
        return LabelSettings
    if section in VARIANTS:
        return VARIANTS[section].classes[str(location[2])]
    return kinds[section]


def _unknown(location: tuple[int | str, ...]) -> str:
    """Say that a key is unknown, and which keys are allowed."""
    key, allowed = str(location[-1]), list(_model_at(location).model_fields)
    if len(location) == 1 or location[0] not in VARIANTS:
        return "unknown key" + nearest(key, allowed)
    told_by, classes = VARIANTS[str(location[0])]
    owners = [name for name, cls in classes.items() if key in cls.model_fields]
    hint = f"; it belongs to {', '.join(owners)}; allowed: {', '.join(allowed)}"
    return f"unknown key of {told_by} {location[2]}" + (hint if owners else nearest(key, allowed))


def _explain(error: Any) -> str:
    """One line for a problem that pydantic found."""
    location, kind, value = error["loc"], error["type"], error.get("input")
    # Pydantic adds the architecture or the source to the path of a problem with an entry.
    shown = [p for i, p in enumerate(location) if not (location[0] in VARIANTS and i == 2)]
    where = ".".join(str(p) for p in shown if p != "[key]") or "the settings"
    if kind == "extra_forbidden":
        return f"{where}: {_unknown(location)}"
    if kind == "missing":
        field = _model_at(location).model_fields[str(location[-1])]
        return f"{where}: missing. {field.description}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        told_by, classes = VARIANTS[str(location[0])]
        allowed = f"allowed: {', '.join(classes)}"
        if not isinstance(value, dict):
            return f"{where}: {shortened(value)}: must be a mapping of settings"
        if told_by not in value:
            return f"{where}.{told_by}: missing; {allowed}"
        found = value[told_by]
        return f"{where}.{told_by}: {found!r}; {allowed}{did_you_mean(str(found), list(classes))}"
    if kind == "string_pattern_mismatch" and "[key]" in location:
        return (
            f"{where}: a name may have only letters (a to z), digits, '_', '.' and '-', at most 64 "
            f"in all, and must begin with a letter or a digit"
        )
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    message = error["msg"].removeprefix("Input ")
    hint = ""
    plain = isinstance(value, (bool, int, float))
    if plain and (kind == "string_type" or (kind == "literal_error" and isinstance(value, bool))):
        return f"{where}: {shortened(value)}: {message} ({quote(value)})"
    if isinstance(value, str) and len(value) < 40 and kind in ("float_type", "int_type"):
        try:
            number = float(value)
            whole = kind == "int_type" and number.is_integer()
            hint = f" (YAML reads {value} as text: write {int(number) if whole else number!r})"
        except ValueError:
            hint = ""
    elif kind == "literal_error" and isinstance(value, str):
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(value, allowed)
    return f"{where}: {shortened(value)}: {message}{hint}"


def shortened(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]}… ({len(text):,} characters)"


def unused(config: Config) -> list[str]:
    """Entries that no run names, as ``images.birds``."""
    used = {(kind, getattr(run, kind)) for run in config.runs for kind in COMPONENTS}
    used |= {("images", config.analysis[run.analysis].on) for run in config.runs}
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
