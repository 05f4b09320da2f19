"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake that the user can mend: says what was wrong, where, what is allowed, what to do.

    Command lines print its text alone, without a traceback, and exit with status 1.
    """


def listed(problems: list[str], heading: str, limit: int = 20) -> str:
    """Return ``heading`` and at most ``limit`` of ``problems``, a line each, then how many are left out."""
    lines = [heading, *(f"  - {problem}" for problem in problems[:limit])]
    if len(problems) > limit:
        lines.append(f"  … and {len(problems) - limit:,} more")
    return "\n".join(lines)
