"""Problems that pydantic finds in the settings, each in one line of plain words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from saev.settings.component import Settings
from saev.settings.elsewhere import CHECKPOINT, TRAINED, ElsewhereSettings
from saev.settings.images import SOURCE_SETTINGS
from saev.settings.labels import LabelSettings
from saev.settings.near import did_you_mean, nearest
from saev.settings.sae import SAE_SETTINGS
from saev.settings.yaml_surprises import quote

DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(e[-+]?\d+)?", re.IGNORECASE)
Sections = Mapping[str, type[Settings]]
"""The settings class of each section's entries; under "", that of all settings."""
Location = tuple[int | str, ...]


class Variants(NamedTuple):
    """The classes that an entry of a section can have."""

    told_by: str
    """The key that tells them apart."""
    classes: Mapping[str, type[Settings]]
    others: Mapping[str, type[Settings]] = {}
    """Those that a key of their own tells apart, by that key."""


VARIANTS = {
    "images": Variants("source", SOURCE_SETTINGS),
    "sae": Variants("architecture", SAE_SETTINGS, {CHECKPOINT: ElsewhereSettings}),
}
MUST_BE = {
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of names",
    "tuple_type": "a list, such as [a, b]",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}
"""What a value must be, by kind of problem."""
EMPTY = ("too_short", "string_too_short")


def explain(errors: list[Any], sections: Sections) -> list[str]:
    """One line for each problem that pydantic found, but for those that follow from another."""
    errors = [{**error, "loc": _plainly(error["loc"])} for error in errors]
    places = [error["loc"] for error in errors]
    return [
        _line(error, sections)
        for error in errors
        # A list whose items are all wrong isn't also too short.
        if error["type"] != "too_short" or not any(_inside(p, error["loc"]) for p in places)
    ]


def _plainly(location: Location) -> Location:
    """A path without the tag of the entries of `sae` that are trained here."""
    tagged = location[:1] == ("sae",) and location[2:3] == (TRAINED,)
    return (*location[:2], *location[3:]) if tagged else location


def _inside(location: Location, outer: Location) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _model_at(location: Location, sections: Sections) -> type[Settings]:
    """The settings class that the last key of a problem's path belongs to."""
    section = str(location[0])
    if len(location) == 1:
        return sections[""]
    if "labels" in location[:-2]:
        return LabelSettings
    if section in VARIANTS:
        variants, tag = VARIANTS[section], str(location[2])
        return variants.classes.get(tag) or variants.others[tag]
    return sections[section]


def _unknown(location: Location, sections: Sections) -> str:
    """Say that a key is unknown, and which keys are allowed."""
    key, allowed = str(location[-1]), list(_model_at(location, sections).model_fields)
    if len(location) == 1 or location[0] not in VARIANTS:
        return "unknown key" + nearest(key, allowed)
    told_by, classes, others = VARIANTS[str(location[0])]
    if location[2] in others:
        known = f"; allowed: {', '.join(allowed)}"
        return f"unknown key of an entry with {location[2]}" + (
            f", which isn't trained{known}"
            if any(key in cls.model_fields for cls in classes.values())
            else nearest(key, allowed)
        )
    owners = [name for name, cls in classes.items() if key in cls.model_fields]
    hint = f"; it belongs to {', '.join(owners)}; allowed: {', '.join(allowed)}"
    return f"unknown key of {told_by} {location[2]}" + (hint if owners else nearest(key, allowed))


def _where(location: Location) -> str:
    """The place of a problem as a person finds it: ``runs[0].vit``."""
    # Pydantic adds the architecture or the source to the path of a problem with an entry.
    shown = [p for i, p in enumerate(location) if not (location[0] in VARIANTS and i == 2)]
    parts: Iterator[str] = (
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in shown if part != "[key]"
    )
    return "".join(parts).removeprefix(".") or "the settings"


def _line(error: Any, sections: Sections) -> str:
    location, kind, value = error["loc"], error["type"], error.get("input")
    where = _where(location)
    if kind == "extra_forbidden":
        return f"{where}: {_unknown(location, sections)}"
    if kind == "missing" and isinstance(location[-1], int):
        return f"{_where(location[:-1])}: {value!r}: has too few values"
    if kind == "missing":
        field = _model_at(location, sections).model_fields[str(location[-1])]
        return f"{where}: missing. {field.description}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _variant(where, location, value)
    if kind == "string_pattern_mismatch" and "[key]" in location:
        return (
            f"{where}: a name may have only letters (a to z), digits, '_', '.' and '-', at most 64 "
            f"in all, and must begin with a letter or a digit"
        )
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    if value is None and kind in MUST_BE:
        is_entry = location[0] in VARIANTS and len(location) == 2  # its class isn't known
        fields = {} if is_entry else _model_at(location, sections).model_fields
        known = fields.get(str(location[-1]))
        spare = known is not None and not known.is_required()
        rest = ", or leave the key out" if spare else ""
        wanted = MUST_BE["model_type" if is_entry else kind]
        return f"{where}: is empty: must be {wanted}{rest}"
    if kind in EMPTY:
        return f"{where}: {value!r}: must not be empty"
    if kind == "too_long":
        return f"{where}: {value!r}: at most {error['ctx']['max_length']} values are allowed"
    return f"{where}: {shortened(value)}: {_message(error, kind)}{_hint(error, kind, value)}"


def _message(error: Any, kind: str) -> str:
    if kind in MUST_BE:
        return f"must be {MUST_BE[kind]}"
    if kind == "string_pattern_mismatch":
        sha256 = "[0-9a-f]{64}" in error["ctx"]["pattern"]
        return "must be 64 digits of 0-9 and a-f" if sha256 else "isn't a name of an entry"
    return str(error["msg"].removeprefix("Input ").replace("should be", "must be"))


def _variant(where: str, location: Location, value: Any) -> str:
    """Say which variants an entry can have."""
    told_by, classes, others = VARIANTS[str(location[0])]
    allowed = f"allowed: {', '.join(classes)}"
    if not isinstance(value, dict):
        return f"{where}: {shortened(value)}: must be a mapping of keys"
    if told_by not in value:
        spare = "".join(f"; or give a {key}" for key in others)
        return f"{where}.{told_by}: missing; {allowed}{spare}"
    found = value[told_by]
    return f"{where}.{told_by}: {found!r}; {allowed}{did_you_mean(str(found), list(classes))}"


def _hint(error: Any, kind: str, value: Any) -> str:
    """What to write instead of a value that YAML reads in another way, or that is misspelt."""
    plain = isinstance(value, (bool, int, float))
    if plain and (kind == "string_type" or (kind == "literal_error" and isinstance(value, bool))):
        return f" ({quote(value)})"
    if isinstance(value, str) and len(value) < 40 and kind in ("float_type", "int_type"):
        if DECIMAL_COMMA.fullmatch(value):
            return f" (write {value.replace(',', '.')})"
        try:
            number = float(value)
        except ValueError:
            return ""
        whole = kind == "int_type" and number.is_integer()
        return f" (YAML reads {value} as text: write {int(number) if whole else number!r})"
    if kind == "literal_error" and isinstance(value, str):
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return did_you_mean(value, allowed)
    return ""


def shortened(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]}… ({len(text):,} characters)"
