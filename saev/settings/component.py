"""Base of all settings classes: strict, frozen, with a digest that new fields don't change.

The default of a field is its *neutral* value: what the code did before the field existed. It never
changes. A field at its neutral value is left out of the digest, so adding a field renames nothing.
Defaults for users are written out in `config.yaml`.

No digest includes a field declared with ``exclude=True``: it can't change a result.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from saev.core.files import canonical_json, sha256_bytes

LARGEST = 2**63 - 1
"""The largest whole number that a setting can have: more don't fit into 64 bits."""


class Settings(BaseModel):
    """Base of all settings. Refuses unknown keys, wrong types, NaN and later changes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    def essential(self) -> dict[str, Any]:
        """The fields that can change a result and aren't at their neutral value."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def loose(self) -> dict[str, Any]:
        """The fields that can't change a result and aren't at their neutral value. They may change
        at any time."""
        return self._beyond_neutral(
            name for name, info in type(self).model_fields.items() if info.exclude
        )

    def _beyond_neutral(self, names: Iterable[str]) -> dict[str, Any]:
        fields = type(self).model_fields
        found = {name: getattr(self, name) for name in names}
        return {
            k: v for k, v in found.items() if v != fields[k].get_default(call_default_factory=True)
        }


class Resolved(Settings):
    """Base of what the plan found for settings: digests of the files and listings they refer to.

    In `identity`, a field replaces the setting of the same name.
    """


def identity(settings: Settings, resolved: Settings) -> dict[str, Any]:
    """Essential settings combined with ``resolved``. A directory's digest is made from this."""
    return completed(settings.essential(), resolved.essential())


def completed(settings: dict[str, Any], resolved: dict[str, Any]) -> dict[str, Any]:
    """Merge ``resolved`` into ``settings``, recursively."""
    merged = dict(settings)
    for key, value in resolved.items():
        inner = merged.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        merged[key] = completed(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def digest(value: Any) -> str:
    """First 8 hex digits of the SHA-256 of the canonical JSON of ``value``."""
    return sha256_bytes(canonical_json(value).encode())[:8]
