"""Hints for names that don't exist."""

import difflib


def did_you_mean(value: str, allowed: list[str]) -> str:
    """Suggest the item of ``allowed`` that is closest to ``value``; empty if none is close."""
    near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest(name: str, known: list[str]) -> str:
    """Suggest the closest name, or else list all that are allowed."""
    return did_you_mean(name, known) or f"; allowed: {', '.join(known) or 'none'}"
