"""The whole of `config.yaml`: named components, and the runs that combine them."""

import json
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, StringConstraints, ValidationError

from saev.errors import UserError, listed
from saev.settings.analysis import AnalysisSettings
from saev.settings.base import Settings, digest
from saev.settings.compute import ComputeSettings
from saev.settings.images import ImagesSettings
from saev.settings.near import did_you_mean, nearest
from saev.settings.presets import expanded
from saev.settings.references import ReferenceSettings
from saev.settings.sae import SAE_SETTINGS, AnySaeSettings
from saev.settings.sweep import NAME_PATTERN, expand
from saev.settings.train import TrainSettings
from saev.settings.vit import VitSettings

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class RunSettings(Settings):
    """One run: a component of each kind, by name."""

    images: Name = Field(description="An entry of `images`.")
    vit: Name = Field(description="An entry of `vit`.")
    sae: Name = Field(description="An entry of `sae`.")
    analysis: Name = Field(description="An entry of `analysis`.")
    reference: Name | None = Field(
        None,
        description="An entry of `references`, which `snakemake compare` holds the training to.",
    )


class Config(Settings):
    """Everything that `config.yaml` and the files given with `--configfile` may say."""

    images: dict[Name, ImagesSettings] = Field(description="Sets of pictures.")
    vit: dict[Name, VitSettings] = Field(description="Towers, and what to record of them.")
    sae: dict[Name, AnySaeSettings] = Field(description="Dictionaries, and how to train them.")
    analysis: dict[Name, AnalysisSettings] = Field(description="Ways to look at a dictionary.")
    references: dict[Name, ReferenceSettings] = Field(
        {}, description="Curves that trainings should follow."
    )
    runs: tuple[RunSettings, ...] = Field(
        min_length=1, description="What to make. Entries that no run names are left alone."
    )
    compute: ComputeSettings = Field(
        ComputeSettings(), description="The machine; changes no result."
    )
    train: TrainSettings = Field(
        TrainSettings(), description="How trainings are run; changes no result."
    )
    _sweeps: dict[str, list[str]] = PrivateAttr(default_factory=dict)

    @property
    def sweeps(self) -> dict[str, list[str]]:
        """Names of the points of each swept entry of `sae`."""
        return self._sweeps


def parse(raw: dict[str, Any]) -> Config:
    """Check settings as read from YAML.

    Raises:
        UserError: names every problem at once: key, value, what is allowed.
    """
    raw, sweeps = expand(_with_on(raw))
    raw = expanded(raw)
    try:
        text = json.dumps(raw, allow_nan=True)
    except TypeError as error:
        raise UserError(
            f"settings must be plain text, numbers, lists and mappings: {error}"
        ) from error
    try:
        config = Config.model_validate_json(text)
    except ValidationError as error:
        problems = [_explain(e, raw) for e in error.errors(include_url=False)]
        raise UserError(listed(problems, "the settings have problems:")) from None
    _check_points(config, sweeps)
    _check_references(config, sweeps)
    runs = tuple(one for run in config.runs for one in _stands_for(run, sweeps))
    # The copy isn't validated again, and needn't be: only names were put in place of names.
    config = config.model_copy(update={"runs": runs})
    config._sweeps = sweeps
    return config


def _stands_for(run: RunSettings, sweeps: dict[str, list[str]]) -> list[RunSettings]:
    """The runs that one with a swept entry stands for: one for each point."""
    return [run.model_copy(update={"sae": name}) for name in sweeps.get(run.sae, [run.sae])]


def _check_points(config: Config, sweeps: dict[str, list[str]]) -> None:
    """Refuse points of a sweep that are one dictionary under two names."""
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
    """The key ``on``, which YAML 1.1 takes for ``true``, given back its name."""
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
            if sae.layer is not None and sae.layer not in vit.layers:
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


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Keys that are allowed at the place of an unknown one."""
    kinds: dict[str, type[Settings]] = {
        "images": ImagesSettings,
        "vit": VitSettings,
        "analysis": AnalysisSettings,
        "compute": ComputeSettings,
        "train": TrainSettings,
        "runs": RunSettings,
        "references": ReferenceSettings,
        **SAE_SETTINGS,
    }
    if len(location) == 1:
        return list(Config.model_fields)
    if "labels" in location[:-2]:
        from saev.settings.analysis import LabelSettings

        return list(LabelSettings.model_fields)
    model = kinds[str(location[2] if location[0] == "sae" else location[0])]
    return list(model.model_fields)


def _explain(error: Any, raw: dict[str, Any]) -> str:
    """One line for a problem that pydantic found."""
    location, kind, value = error["loc"], error["type"], error.get("input")
    # Pydantic puts the architecture into the path of a problem with a dictionary.
    shown = [p for i, p in enumerate(location) if not (location[0] == "sae" and i == 2)]
    where = ".".join(str(p) for p in shown if p != "[key]") or "the settings"
    if kind == "extra_forbidden":
        key = str(location[-1])
        text = f"{where}: unknown key" + nearest(key, _fields_at(location))
        if location[0] == "sae" and len(location) > 2:
            text += f" (architecture {location[2]})"
        return text
    if kind == "missing":
        return f"{where}: is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        found = value.get("architecture") if isinstance(value, dict) else value
        known = list(SAE_SETTINGS)
        near = did_you_mean(str(found), known)
        return f"{where}.architecture: {found!r}; allowed: {', '.join(known)}{near}"
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    message = error["msg"].removeprefix("Input ")
    hint = ""
    if isinstance(value, str) and kind in ("float_type", "int_type"):
        try:
            number = float(value)
            whole = kind == "int_type" and number.is_integer()
            hint = f" (YAML takes {value} for text: write {int(number) if whole else number!r})"
        except ValueError:
            hint = ""
    elif kind == "literal_error" and isinstance(value, str):
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(value, allowed)
    shown_value = (
        repr(value) if not isinstance(value, (dict, list)) else f"a {type(value).__name__}"
    )
    return f"{where}: {shown_value}: {message}{hint}"


def schema() -> dict[str, Any]:
    """The JSON schema of the settings."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }
