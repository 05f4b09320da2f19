"""What a job gets from its rule: the content of `--spec`."""

import json
from typing import Any, NamedTuple, TypeVar

from saev.core.errors import UserError, listed

Settings = TypeVar("Settings")


class Spec(NamedTuple):
    """Settings of a job's component, what the plan resolved them to, and the digest of its code."""

    settings: dict[str, Any]
    """Settings from the user that can change a result and aren't neutral."""
    resolved: dict[str, Any]
    """What the settings refer to: digests of files and listings."""
    code: str
    """Digest of the stage's code; empty for a stage run by hand."""
    versions: dict[str, str]
    """Versions of libraries that can change the bytes. Only recording has them."""

    def parsed(self, settings: "type[Settings] | Any", **more: Any) -> Settings:
        """The settings as an object of class ``settings``. ``more`` adds values that they lack.

        Raises:
            UserError: names every wrong key.
        """
        return parsed(settings, {**more, **self.settings})

    def found(self, resolved: type[Settings]) -> Settings:
        """The resolved values as an object of class ``resolved``.

        Raises:
            UserError: names every wrong key.
        """
        return parsed(resolved, self.resolved)


def read_spec(text: str) -> Spec:
    """Parse ``--spec``.

    Raises:
        UserError: it isn't JSON of this form.
    """
    try:
        value = json.loads(text)
        kept = (value.get(key, {}) for key in ("resolved", "versions"))
        resolved, versions = kept
        return Spec(value["settings"], resolved, value.get("code", ""), versions)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'--spec must be JSON like {{"settings": {{…}}}}: {error!r}') from error


def parsed(cls: Any, values: dict[str, Any], what: str = "the settings of this job") -> Any:
    """An object of a settings class (or a union of them) from JSON values.

    Args:
        cls: the class.
        values: values by key.
        what: what the values are, for the message.

    Raises:
        UserError: names every wrong key.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_json(json.dumps(values))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError(listed(problems, f"{what} are wrong:")) from None
