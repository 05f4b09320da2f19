"""Reads a vocabulary: a text file with a word or phrase on each line."""

from pathlib import Path

from saev.core.errors import UserError, listed

FEWEST_WORDS = 2
"""The mean of one word is the word itself, so nothing of it would be left."""


def read_words(where: str, path: Path) -> list[str]:
    """The words of a file, in its order. Empty lines are passed over.

    Args:
        where: the setting that names it, for messages.

    Raises:
        UserError: it isn't there, isn't text in UTF-8, has too few words, or has one twice.
    """
    if not path.is_file():
        raise UserError(f"{where}: there is no file {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {path} isn't text in UTF-8: {error.reason}") from error
    first: dict[str, int] = {}
    words, twice = [], []
    for number, line in enumerate(lines, 1):
        word = " ".join(line.split())
        if not word:
            continue
        before = first.setdefault(word.casefold(), number)
        if before != number:
            twice.append(f"line {number}: {word} is on line {before} already")
        words.append(word)
    if twice:
        raise UserError(listed(twice, f"{where}: {path} has words twice:", 5))
    if len(words) < FEWEST_WORDS:
        raise UserError(
            f"{where}: {path} has {len(words)} words: write {FEWEST_WORDS} or more, each on a line"
        )
    return words
