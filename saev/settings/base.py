"""What all settings classes share: strict, frozen, and with a digest that survives new fields.

Every field's default is its *neutral* value: what the code did before the field existed. It is fixed
for ever when the field is introduced, and a field at its neutral value is left out of the digest, so
that adding a field renames nothing. Defaults for users are written out in `config.yaml`.

A field declared with ``exclude=True`` is in no digest: it can't change a result.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from saev.files import canonical_json, sha256_bytes


class Settings(BaseModel):
    """Base of all settings: unknown keys, wrong types, NaN and later changes are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    def essential(self) -> dict[str, Any]:
        """The fields that can change a result and aren't at their neutral value."""
        return self.model_dump(mode="json", exclude_defaults=True)


def digest(value: Any) -> str:
    """First 8 hex digits of the SHA-256 of the canonical JSON of ``value``."""
    return sha256_bytes(canonical_json(value).encode())[:8]
