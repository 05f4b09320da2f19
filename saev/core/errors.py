"""The one exception that a user is meant to read."""

import re

FINAL = "trying this job again can't help: it needs you"
"""The last line of the log of a job that a `UserError` ended. The workflow looks for it."""
ENDED = "this job was asked to end; its peak of memory, in MB:"
"""What the log of a job that had SIGTERM ends with, and a number. The workflow looks for it."""
WORD, LINE = 300, 3000
"""Most characters of a word, and of a line, that a message shows."""


class UserError(Exception):
    """A mistake that the user can fix. Its text says what is wrong, where, and what to do.

    Command lines print only its text, without a traceback, and exit with status 1. Values from
    files can be as long as an image, so very long words and lines are shown in part.

    Args:
        text: the text.
        may_pass: whether the same may work at the next try, for example with more memory. If not,
            a cluster's job isn't tried again.
    """

    def __init__(self, text: str, may_pass: bool = False) -> None:
        super().__init__(shortened(text))
        self.may_pass = may_pass


def shortened(text: str) -> str:
    """A text whose words have at most `WORD` characters, and its lines about `LINE`."""
    text = re.sub(rf"\S{{{WORD},}}", lambda found: _cut(found[0], 100, 20), text)
    lines = text.split("\n")
    return "\n".join(line if len(line) <= LINE else _cut(line, LINE - 500, 500) for line in lines)


def _cut(text: str, first: int, last: int) -> str:
    return f"{text[:first]}… ({len(text):,} characters) …{text[-last:]}"


def printable(text: str) -> str:
    """A name as a message shows it: in one line, without control characters."""
    return text if text.isprintable() else repr(text)


def listed(problems: list[str], heading: str, limit: int = 20) -> str:
    """Return ``heading``, at most ``limit`` of ``problems``, one per line, and how many more."""
    lines = [heading, *(f"  - {problem}" for problem in problems[:limit])]
    if len(problems) > limit:
        lines.append(f"  … and {len(problems) - limit:,} more")
    return "\n".join(lines)
