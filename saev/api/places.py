"""Finds results in what programs give: runs, paths of runs or dictionaries, numbers of latents."""

import operator
import os
from pathlib import Path
from typing import Any

from saev.analyze import artifact as analysed
from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import META, read_meta
from saev.dashboard.artifact import FOLDER_NAME, PAGE
from saev.train import artifact as trained

RUN, DICTIONARY = "results/{images}/{vit}/{sae}/{analysis}", "results/{images}/{vit}/{sae}"


def folder_of(given: Any) -> Path:
    """The path that a run, or a path, stands for. The page of a run stands for the run.

    Raises:
        UserError: it is neither.
    """
    named = getattr(given, "path", given)
    if not isinstance(named, (str, os.PathLike)):
        raise UserError(f"give a run, or the path of one ({RUN}), not a {type(given).__name__}")
    path = Path(named)
    if path.name == PAGE:
        path = path.parent
    return path.parent if path.name == FOLDER_NAME else path


def dictionary_of(path: Path) -> Path:
    """Directory of the dictionary at ``path``, or of the run at ``path``.

    Raises:
        UserError: there is neither, or the run was made from another dictionary.
    """
    stage = stage_of(path)
    if stage not in (analysed.STAGE, trained.STAGE):
        raise UserError(f"{path} is neither a run ({RUN}) nor a dictionary ({DICTIONARY})")
    if stage == trained.STAGE:
        return path
    meta, _ = read_meta(path, analysed.STAGE)
    _, digest = read_meta(path.parent, trained.STAGE)
    require_input(meta, trained.STAGE, digest, path.parent, path)
    return path.parent


def stage_of(path: str | Path) -> str:
    """Which stage made the directory ``path``.

    Raises:
        UserError: there is no such directory, or it isn't complete.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"there is no directory {path}: a run is called {RUN}, a dictionary {DICTIONARY}"
        )
    if not (path / META).is_file():
        raise UserError(
            f"{path} isn't complete: it has no {META}, which is written last. Run the workflow "
            f"again, or check the path: a run is called {RUN}"
        )
    meta = read_json(path / META)
    return str(meta.get("stage")) if isinstance(meta, dict) else ""


def require_input(meta: dict[str, Any], stage: str, digest: str, path: Path, of: Path) -> None:
    """Refuse an input that isn't the one a result was made from.

    Args:
        meta: ``meta.json`` of the result; of: its directory.
        stage, digest, path: stage, current digest and directory of the input.

    Raises:
        UserError: the result was made from another input.
    """
    if meta["inputs"].get(stage) != digest:
        raise UserError(
            f"{of} wasn't made from the result of the stage {stage} that {path} holds now: run the "
            f"workflow again"
        )


def latent_number(latent: Any, n_latents: int) -> int:
    """``latent`` as a number from 0 to ``n_latents`` - 1.

    Raises:
        UserError: it isn't one.
    """
    try:
        number = operator.index(latent)
    except TypeError:
        raise UserError(f"a latent is a whole number, not {latent!r}") from None
    if not 0 <= number < n_latents:
        raise UserError(f"there is no latent {number}: the dictionary has 0 to {n_latents - 1}")
    return number
