"""Paths as people write them."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field


def at_home(text: str) -> str:
    """A path with `~` replaced by the home folder.

    Raises:
        ValueError: there is no such user, or the text can't be a path.
    """
    if "\0" in text:
        raise ValueError(f"{text!r}: no path holds a character of number 0: remove it")
    found = os.path.expanduser(text)  # noqa: PTH111 (the text may be no path, such as a tag)
    if found == text and text.startswith("~"):
        raise ValueError(f"{text}: there is no home folder of that name: write the whole path")
    return found


def tidy(text: str) -> str:
    """A path without `~`, `./` and a slash at the end."""
    return str(Path(at_home(text)))


def from_here(path: str) -> str:
    """A path relative to the working folder, if it lies in there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


AtHome = Annotated[str, AfterValidator(at_home)]
"""A path, or another text."""
PathText = Annotated[str, Field(min_length=1), AfterValidator(tidy)]
"""The path of a file or folder, or a pattern."""


def located(given: str, project: Path) -> str:
    """Resolve a path from the settings, relative to where the workflow ran: ``project``, or here.

    Args:
        given: a path, or a pattern of paths.
        project: the folder that holds results/.
    """
    if Path(given).is_absolute():
        return given
    found = (str(base / given) for base in (project, Path()) if any(base.glob(given)))
    return next(found, str(project / given))
