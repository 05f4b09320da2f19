"""Writes docs/settings.md from the schema: `python -m saev.settings.markdown`."""

from typing import Any

from saev.settings.config import schema
from saev.settings.explained import VARIANTS
from saev.settings.images import SOURCE_SETTINGS

HEAD = """\
# Settings

Made from the schema by `python -m saev.settings.markdown > docs/settings.md`; do not edit by hand.

`config.yaml` has named entries under `images`, `vit`, `sae` and other keys, and a list of `runs`
that combine them. `snakemake --cores all --configfile mine.yaml` merges your own file with it, key
by key. Your values win, and your `runs` replace those of `config.yaml`. An entry with the same name
changes that entry, so give your own entries other names.

saev refuses a key that isn't listed here, or that the chosen architecture or source doesn't use. A
key that you leave out takes its *neutral* value. That value never changes and isn't part of the
directory's name. YAML reads `1e-4` as text: write `0.0001` or `1.0e-4`. It reads `2024-05-01` as a
date, `010` as a number, and `on`, `off`, `yes` and `no` as true or false: put them in quotes if you
mean a text.

If the YAML has a mistake, or has a key twice, saev names the file and the line.

`preset: NAME` in an entry of `sae` or `analysis` stands for settings that go together. Other keys
of the entry win over it. There is one preset, `relu_2024`: see [relu_2024.md](relu_2024.md).

`sweep:` in an entry of `sae` makes one dictionary for each combination of the values that it lists:
see [sweeps.md](sweeps.md).

An entry of `images` has one source, named by its key: `folder: /data/birds`. The order in which the
source lists the images gives each image its row.
"""


def _variants(section: str) -> dict[str, str]:
    told_by, classes, others = VARIANTS[section]
    titles = {cls.__name__: f"{section}, {told_by}: {name}" for name, cls in classes.items()}
    return titles | {cls.__name__: f"{section}, with {key}" for key, cls in others.items()}


TITLES = {
    **_variants("images"),
    "VitSettings": "vit: towers, and what to record from them",
    **_variants("sae"),
    "AnalysisSettings": "analysis: ways to look at a dictionary",
    "LabelSettings": "analysis.NAME.labels: where labels come from",
    "EvaluationSettings": "evaluation: what to measure of a dictionary",
    "HierarchySettings": "evaluation.NAME.absorption: two labels that form a hierarchy",
    "MaskSettings": "evaluation.NAME.masks: what lies where in images",
    "ReferenceSettings": "references: curves that trainings should follow",
    "RunSettings": "runs: what to make",
    "ComputeSettings": "compute: the machine",
    "TrainSettings": "train: how trainings are run",
    "ParitySettings": "parity: how two versions of the code are compared",
}
SHARED = {
    "images": "Every entry of `images` can have these keys. Those of each source follow.",
    "sae": "Every entry of `sae` with an `architecture` can have these keys. Those of each "
    "architecture follow.",
}
"""What is said of the keys that all variants of a section share."""
FIRST = {"architecture", *SOURCE_SETTINGS}
"""Keys that tell variants apart."""
PLURALS = {"whole number": "whole numbers", "number": "numbers", "text": "texts"}
ARCHITECTURE = "How active latents are chosen: see [dictionaries.md](dictionaries.md)."


def reference() -> str:
    """The reference as Markdown."""
    definitions = schema()["$defs"]
    assert set(definitions) == set(TITLES), "a settings class has no title here"
    rows = {name: _rows(model) for name, model in definitions.items()}
    lines = [HEAD]
    shared: list[str] = []
    for name, title in TITLES.items():
        section, own = title.partition(",")[0], rows[name]
        if section in SHARED:
            told_by, classes, _ = VARIANTS[section]
            names = [cls.__name__ for cls in classes.values()]
            if name == names[0]:
                shared = [row for row in own if all(row in rows[other] for other in names)]
                lines += _table(f"{section}: keys of every {told_by}", SHARED[section], shared)
            own = [row for row in own if name not in names or row not in shared]
        lines += _table(title, definitions[name]["description"], own)
    return "\n".join(lines)


def _table(title: str, text: str, rows: list[str]) -> list[str]:
    heading = ["| key | type | neutral | what it is |", "| --- | --- | --- | --- |"]
    return [f"## {title}", "", text, "", *heading, *rows, ""]


def _rows(model: dict[str, Any]) -> list[str]:
    """The lines of a table with the fields of a settings class."""
    found = []
    required = model.get("required", [])
    for field, rules in sorted(model["properties"].items(), key=lambda one: one[0] not in FIRST):
        neutral = "required" if field in required else f"`{_shown(rules.get('default'))}`"
        text = rules.get("description", ARCHITECTURE if "const" in rules else "")
        text = text.replace("|", "\\|")
        found.append(f"| `{field}` | {_type(rules)} | {neutral} | {text} |")
    return found


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
        if "prefixItems" in rules:
            kinds = [_type(item) for item in rules["prefixItems"]]
            return f"list of {len(kinds)}: {', '.join(kinds)}"
        one = _type(rules["items"])
        return f"list of {PLURALS.get(one, one)}"
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
    return " ".join([text, ", ".join(limits)]).strip()


if __name__ == "__main__":
    print(reference(), end="")
