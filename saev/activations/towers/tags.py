"""Which of a model's published tags a weights file follows.

A tag decides more than the weights: the activation function, and how images are prepared. A file
doesn't say which tag it was trained like. So the tags of its model must agree, or the settings name
one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from saev.activations.towers.weights import is_file_name, no_such_tag
from saev.core.errors import UserError
from saev.settings.near import did_you_mean
from saev.settings.vit import VitSettings

Decided = Mapping[str, Any]
"""What one tag decides, by name."""
SHOWN = 3
"""How many tags of a group a message names."""


def choose(
    settings: VitSettings, tags: Mapping[str, Decided], published: str | None = None
) -> str | None:
    """The tag whose activation function and preprocessing the weights use.

    Args:
        settings: settings of the tower.
        tags: what each tag of the model decides.
        published: the tag whose file this is, if it was recognised.

    Returns:
        the tag; None for random weights, and for a file of a model without tags.

    Raises:
        UserError: `weights` or `like` isn't a tag, `like` contradicts ``published``, or nothing
            says which of several differing tags a file follows.
    """
    weights, like = settings.weights or "", settings.like
    if like is not None and like not in tags:
        raise UserError(
            f"like: {like!r} isn't a tag of {settings.model}; its tags: {', '.join(tags) or 'none'}"
            f"{did_you_mean(like, list(tags))}"
        )
    if published in tags and published is not None:
        if like is not None and tags[like] != tags[published]:
            raise UserError(
                f"like: {like} is wrong: the file {weights} holds the published weights of the tag "
                f"{published}, which differs in "
                f"{' and '.join(_differing([tags[like], tags[published]]))}. Leave like out"
            )
        return published
    if like is not None:
        return like
    if weights in ("", "random"):
        return None
    if not is_file_name(weights):
        if weights not in tags:
            raise no_such_tag(weights, settings.model, list(tags))
        return weights
    differing = _differing(list(tags.values()))
    if differing:
        raise UserError(
            f"weights: {weights} doesn't say how it was trained, and the tags of {settings.model} "
            f"differ in {' and '.join(differing)} ({_groups(tags, differing)}). "
            f"Set `like` to a tag that was trained in the same way"
        )
    return next(iter(tags), None)


def agreed(tags: Mapping[str, Decided], key: str) -> bool:
    """Whether all tags decide the same for ``key``."""
    return key not in _differing(list(tags.values()))


def _differing(decided: Sequence[Decided]) -> list[str]:
    names = list(dict.fromkeys(name for one in decided for name in one))
    return [name for name in names if any(c.get(name) != decided[0].get(name) for c in decided)]


def _groups(tags: Mapping[str, Decided], differing: Sequence[str]) -> str:
    """The tags, grouped by what they decide differently, in words."""
    groups: dict[str, list[str]] = {}
    for name, one in tags.items():
        groups.setdefault(", ".join(f"{k} {_text(one.get(k))}" for k in differing), []).append(name)
    return "; ".join(f"{text}: {_names(names)}" for text, names in groups.items())


def _names(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_text(v) for v in value)})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
