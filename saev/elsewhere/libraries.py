"""The one table of formats, and which of them a file or folder has."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError
from saev.elsewhere import (
    dictionary_learning,
    here,
    imageomics,
    overcomplete,
    sae_lens,
    sparsify,
    vit_prisma,
)
from saev.elsewhere.common_form import Arrays, Described, Hints, Plain
from saev.elsewhere.headers import TORCH, begins


class Format(NamedTuple):
    """How a library stores a dictionary."""

    describe: Callable[[Path, Hints], Described]
    """What is said without reading weights. Refuses what can't be converted exactly."""
    convert: Callable[[Described, Arrays], Plain]
    files: tuple[str, ...] = ()
    """Names of the files in its folder; empty for a single file."""
    recognised: Callable[[Path], bool] | None = None
    """For a single file."""
    hinted: bool = False
    """Whether the settings say how it chooses latents."""
    objects: tuple[str, ...] = ()
    """Classes of which nothing is read, and nothing run, where a PyTorch file holds objects."""


FORMATS = {
    "sae-lens": Format(sae_lens.describe, sae_lens.convert, sae_lens.FILES),
    "sparsify": Format(sparsify.describe, sparsify.convert, sparsify.FILES),
    "dictionary-learning": Format(
        dictionary_learning.describe, dictionary_learning.convert, dictionary_learning.FILES
    ),
    "saev-imageomics": Format(
        imageomics.describe, imageomics.convert, recognised=imageomics.recognised
    ),
    "saev-workflow": Format(here.describe, here.convert, recognised=here.recognised),
    # It says itself what it is, which a state dict of overcomplete doesn't: ask it first.
    "vit-prisma": Format(
        vit_prisma.describe,
        vit_prisma.convert,
        recognised=vit_prisma.recognised,
        objects=vit_prisma.OBJECTS,
    ),
    "overcomplete": Format(
        overcomplete.describe,
        overcomplete.convert,
        recognised=lambda path: begins(path, TORCH),
        hinted=True,
    ),
}
"""By the name of the library on the Python package index; Imageomics' `saev` isn't this one."""
WANTED = (
    "a folder with cfg.json and sae_weights.safetensors (SAELens), cfg.json and sae.safetensors "
    "(sparsify), config.json and ae.pt (dictionary_learning), config.json and weights.pt "
    "(ViT-Prisma, of which you can name another .pt beside config.json); a file of Imageomics' "
    "saev; a state dict of overcomplete; or a checkpoint of this project"
)
PICKLES = (".pkl", ".pkl.gz")


class Recognised(NamedTuple):
    """A dictionary from elsewhere, before its weights are read."""

    format: str
    described: Described


def look(path: Path, hints: Hints, where: str = "checkpoint") -> Recognised:
    """Find out which format a file or folder has, and what it holds.

    Args:
        path: the file or folder.
        hints: what the settings say of it.
        where: the setting, for messages.

    Raises:
        UserError: it is missing, of no known format, or can't be converted exactly.
    """
    if not path.exists():
        raise UserError(f"{where}: there is no file or folder {path}")
    if path.name.endswith(PICKLES):
        raise UserError(
            f"{where}: {path} is a pickle, and reading that could run code. If you trust it, open "
            f"it with the library that wrote it, and save it as a .pt file"
        )
    try:
        name, at = _format(path, where)
        if hints.selects is not None and not FORMATS[name].hinted:
            raise UserError(
                f"{where}: {path} has the format of {name}, which says itself how it chooses "
                f"latents: leave selects and k out"
            )
        try:
            return Recognised(name, FORMATS[name].describe(at, hints))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    except OSError as error:
        raise UserError(
            f"{where}: can't read {error.filename or path}: {error.strerror}"
        ) from error


def _format(path: Path, where: str) -> tuple[str, Path]:
    """The format, and the folder or file that it is described by."""
    folder = path if path.is_dir() else path.parent
    for name, known in FORMATS.items():
        lacking = [file for file in known.files if not (folder / file).is_file()]
        if known.files and not lacking and (path.is_dir() or path.name in known.files):
            return name, folder
        if lacking and path.name == known.files[-1]:
            raise UserError(
                f"{where}: {folder} has {path.name} but no {lacking[0]}: name a folder with both"
            )
    inside = (*sorted(path.glob(f"{here.CHECKPOINT}.*")), *path.glob(vit_prisma.WEIGHTS))
    for file in (path,) if path.is_file() else inside:
        for name, known in FORMATS.items():
            if known.recognised and known.recognised(file):
                return name, file
    raise UserError(f"{where}: {path} has no known format; allowed: {WANTED}")
