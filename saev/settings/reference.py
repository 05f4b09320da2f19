"""Writes the settings reference of the docs from the schema: `python -m saev.settings.reference`."""

from typing import Any

from saev.settings.config import schema
from saev.settings.sae import SAE_SETTINGS

HEAD = """\
# Settings

Made from the schema by `python -m saev.settings.reference > docs/settings.md`; do not edit by hand.

`config.yaml` has named entries under `images`, `vit`, `sae` and `analysis`, and a list of `runs` that
combine them. Your own file adds to it: `snakemake --cores all --configfile mine.yaml` merges the two key by key,
yours wins, and your `runs` replace those of `config.yaml`. An entry called like one of `config.yaml` changes that one:
give your own another name.

A key that isn't listed here is refused, and so is one that the chosen architecture doesn't use. A key
that is left out takes its *neutral* value, which never changes and isn't part of the directory's name.
YAML takes `1e-4` for text; write `0.0001` or `1.0e-4`.

`preset: NAME` in an entry of `sae` or `analysis` stands for settings that go together; other keys of the entry win.
There is `relu_2024`: see [relu_2024.md](relu_2024.md).

`sweep:` in an entry of `sae` makes many of it, in which the keys under `sweep` take one of a list of values each:
see [sweeps.md](sweeps.md).
"""

TITLES = {
    "ImagesSettings": "images: sets of pictures",
    "VitSettings": "vit: towers, and what to record of them",
    **{cls.__name__: f"sae, architecture: {name}" for name, cls in SAE_SETTINGS.items()},
    "AnalysisSettings": "analysis: ways to look at a dictionary",
    "LabelSettings": "analysis.NAME.labels: where labels come from",
    "ReferenceSettings": "references: curves that trainings should follow",
    "RunSettings": "runs: what to make",
    "ComputeSettings": "compute: the machine",
    "TrainSettings": "train: how trainings are run",
}


def reference() -> str:
    """The reference as Markdown."""
    definitions = schema()["$defs"]
    assert set(definitions) == set(TITLES), "a settings class has no title here"
    lines = [HEAD]
    for name, title in TITLES.items():
        model = definitions[name]
        lines += [f"## {title}", "", model["description"], ""]
        lines += ["| key | type | neutral | what it is |", "| --- | --- | --- | --- |"]
        required = model.get("required", [])
        for field, rules in model["properties"].items():
            neutral = "required" if field in required else f"`{_shown(rules.get('default'))}`"
            text = rules.get("description", "").replace("|", "\\|")
            lines.append(f"| `{field}` | {_type(rules)} | {neutral} | {text} |")
        lines.append("")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, [], {}) else str(value)


def _type(rules: dict[str, Any]) -> str:
    if "const" in rules:
        return f"`{rules['const']}`"
    if "enum" in rules:
        return ", ".join(f"`{value}`" for value in rules["enum"])
    if "anyOf" in rules:
        return " or ".join(_type(r) for r in rules["anyOf"] if r.get("type") != "null")
    if rules.get("type") == "array":
        return f"list of {_type(rules['items'])}"
    if "additionalProperties" in rules:
        return "mapping by name"
    names = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true/false",
    }
    text = names.get(rules.get("type", ""), "mapping")
    bounds = {
        "exclusiveMinimum": "> {}",
        "minimum": "≥ {}",
        "exclusiveMaximum": "< {}",
        "maximum": "≤ {}",
        "multipleOf": "multiple of {}",
    }
    limits = [sign.format(rules[key]) for key, sign in bounds.items() if key in rules]
    return " ".join([text, *limits])


if __name__ == "__main__":
    print(reference(), end="")
