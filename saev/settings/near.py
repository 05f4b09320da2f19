"""Hints for names that don't exist."""

import difflib


def did_you_mean(value: str, allowed: list[str]) -> str:
    """A question with the one of ``allowed`` that is much like ``value``; empty if none is."""
    near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest(name: str, known: list[str]) -> str:
    """The same, or else all that is allowed."""
    return did_you_mean(name, known) or f"; allowed: {', '.join(known) or 'none'}"
