"""`saev init`: a folder with settings to start from."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.images.sources import open_source
from saev.images.sources.folder import OTHERS, kind_of_folder
from saev.settings.images import AnyImagesSettings
from saev.tools.present import CONFIG
from saev.workflow.digests import FILES

EXTRA = ("onnx", "resvg_py")
"""Packages that only the rules of the demo need: for weights, and for drawings."""
FEW = 256
"""Fewer images than this don't fill a batch of whole images."""


HEAD = """\
# What to make: edit this, then run: saev run. saev refuses unknown keys.
"""


class OwnImages(NamedTuple):
    """A user's images."""

    source: str
    """Key of the settings that names the source."""
    path: Path
    n: int
    in_folders: bool
    """Whether some lie in a subfolder, which can be their label."""


def begin(folder: Path, images: str | None) -> list[str]:
    """Make a folder with settings.

    Args:
        folder: where. It may be there, but not its settings.
        images: a folder of images, a parquet file or a tar; None for the demo.

    Returns:
        what to do next, a line each.

    Raises:
        UserError: there are settings already, or no images.
    """
    target = folder / CONFIG
    if target.exists():
        raise UserError(
            f"{target} is there already, and saev init overwrites nothing: name another folder"
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder")
    sections = _sections((FILES / CONFIG).read_text(encoding="utf-8"))
    found = None if images is None else look(Path(images))
    if found is not None:
        if folder.resolve().is_relative_to(found.path):
            raise UserError(
                f"{folder} lies among the images, so results would count as your images: name a "
                f"folder elsewhere"
            )
        sections |= _own(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write("\n".join([HEAD, *sections.values()]))
    except OSError as error:
        raise UserError(f"can't make {target}: {error.strerror}") from error
    what = "the demo: 1,161 drawings" if found is None else f"{found.n:,} images of {found.path}"
    needed = EXTRA if found is None else EXTRA[:1]
    lines = [f"{target}: {what}, seen by CLIP ViT-B/16"]
    if found is not None and found.n < FEW:
        lines.append(f"With fewer than {FEW} images, only a dictionary of patches is trained.")
    if not all(importlib.util.find_spec(name) for name in needed):
        lines.append("Install what downloads the model: pip install 'saev-workflow[demo]'")
    at = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    return [
        *lines,
        f"Every setting is explained in {FILES / 'docs/settings.md'}",
        f"Next: {at}saev run -n    # what would run; without -n, it runs",
    ]


def look(path: Path) -> OwnImages:
    """Images at a path.

    Raises:
        UserError: there are none.
    """
    source = kind_of_folder(path) if path.is_dir() else OTHERS.get(path.suffix, "")
    if not path.exists():
        raise UserError(f"--images: there is no {path}")
    if not source:
        raise UserError(f"--images: {path} isn't a folder, a .parquet or a .tar file")
    whole = path.resolve()
    settings = parsed(AnyImagesSettings, {source: str(whole)}, "--images")
    try:
        keys = [key for table in open_source(settings).tables() for key in table["key"].to_pylist()]
    except UserError as error:
        raise UserError(f"--images: {error}") from error
    if not keys:
        raise UserError(f"--images: {path} holds no image")
    return OwnImages(
        source, whole, len(keys), source == "folder" and any("/" in key for key in keys)
    )


def _sections(text: str) -> dict[str, str]:
    """The sections of a settings file by their key, each with the comment above it."""
    parts = re.split(r"^((?:#.*\n)*(\w+):)", text, flags=re.M)[1:]
    triples = zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    return {key: f"{start}{body.rstrip()}\n" for start, key, body in triples}


def _own(found: OwnImages) -> dict[str, str]:
    """The sections that are about a user's images."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", found.path.stem).strip("-")[:40] or "mine"
    label = "    labels: {folder: {folder: true}}\n" if found.in_folders else "    labels: {}\n"
    about = (
        "  # The first level of folders is a label. docs/inputs.md names other sources of labels."
        if found.in_folders
        else "  # Without labels. docs/inputs.md says where they can come from."
    )
    runs = ["cls", "patches"] if found.n >= FEW else ["patches"]
    lines = [
        f"  - {{images: {name}, vit: clip-b16, sae: {sae}, analysis: {name}}}\n" for sae in runs
    ]
    # A text in JSON is one in YAML too.
    place = json.dumps(str(found.path), ensure_ascii=False)
    return {
        "images": f"images:\n  {name}:\n    {found.source}: {place}\n",
        "analysis": f"analysis:\n{about}\n  {name}:\n{label}    top_images: 16\n",
        "runs": f"runs:\n{''.join(lines)}",
    }
