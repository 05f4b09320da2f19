"""Opens results in programs: dictionaries, runs, and the activations they were made from.

Use it through `saev.load` and `saev.open_run`. Heavy imports happen only when they are needed: you
can read the tables of a run without PyTorch.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saev.activations import artifact as recorded
from saev.activations.artifact import Activations
from saev.analyze.artifact import LATENTS, STAGE, Analysis
from saev.api.places import (
    RUN,
    dictionary_of,
    folder_of,
    latent_number,
    require_input,
    stage_of,
)
from saev.api.vectors import RecordedVectors
from saev.core import shown
from saev.core.errors import UserError
from saev.core.files import sha256_bytes
from saev.core.meta import META, read_meta
from saev.dashboard.artifact import FOLDER_NAME
from saev.images import artifact as listed
from saev.images.artifact import Images
from saev.settings.paths import located
from saev.train import artifact as trained

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from saev.images.sources.source import Source
    from saev.sae import Sae

N_SHOWN = 4
"""Latents that a notebook shows of a run."""


def load(path: "Run | str | Path", device: str = "cpu") -> "Sae":
    """Read a dictionary, in evaluation mode and without gradients.

    Args:
        path: the directory of its training (`results/{images}/{vit}/{sae}`), the checkpoint in it,
            or what `Explorer` takes: a run from `open_run`, its directory, or its page.
        device: where to put it.

    Returns:
        a module. Its ``encode`` maps raw activations (b, d) float32 to latents (b, n), and its
        ``decode`` maps these back.

    Raises:
        UserError: it is missing or altered, has a newer format, isn't a checkpoint of saev, or
            isn't the dictionary that the run analysed.
    """
    found = folder_of(path)
    if (found / META).is_file():
        found = dictionary_of(found)
    return trained.load(found, device)


def open_run(path: str | Path) -> "Run":
    """Open a finished run. Files are read when you ask for their content.

    Args:
        path: the directory of its analysis, `results/{images}/{vit}/{sae}/{analysis}`, or its page,
            to which the list of all runs links.

    Raises:
        UserError: there is no such directory, or the analysis is incomplete, was altered, or has a
            newer format.
    """
    found = folder_of(path)
    if stage_of(found) != STAGE:
        raise UserError(f"{found} isn't a run: name the directory of an analysis, {RUN}")
    return Run(found)


class Run:
    """One analysis and everything it was made from. `open_run` makes it.

    Attributes:
        path: its directory.
        summary: its figures, as in `meta.json`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._analysis = Analysis(self.path)
        self.summary: dict[str, Any] = self._analysis.summary
        on = self._analysis.meta["settings"].get("on")
        vit = self.path.parent.parent
        self._activations_path = vit if on is None else vit.parent.parent / on / vit.name

    def __repr__(self) -> str:
        return shown.line("run", self._title, self._figures(), str(self.path))

    def _repr_html_(self) -> str:
        return shown.card("run", self._title, self._figures(), self._tiles(), str(self.path))

    @property
    def _title(self) -> str:
        parts = self.path.parts[-4:]
        return "/".join(part.rpartition("-")[0] or part for part in parts)

    def _figures(self) -> dict[str, object]:
        both, splits = self.summary["all"], self.summary["splits"]
        train, held_out = (splits.get(split) or {} for split in ("train", "held_out"))
        return {
            "images": both["n_images"],
            "latents": self.summary["n_latents"],
            "dead": both["n_dead"],
            "l0": train.get("l0"),
            "nmse": train.get("nmse"),
            "nmse held out": held_out.get("nmse"),
            "labels": ", ".join(self._analysis.label_names),
        }

    def _tiles(self) -> list[shown.Tile]:
        """A few latents with their top images, if the page of the run has them."""
        from saev.dashboard.gallery import strips

        page, tiles = self.path / FOLDER_NAME, []
        if not self._analysis.is_current:
            return []
        for one in strips(self._analysis)["first"][:N_SHOWN]:
            files = [page / name for name in one["pictures"]]
            images = [shown.jpeg(file.read_bytes()) for file in files if file.is_file()]
            if images:
                label = f": {one['label']}" if one["label"] else ""
                tiles.append(shown.Tile(f"latent {one['latent']}{label}", images))
        return tiles

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings of ``images``, ``vit``, ``sae`` and ``analysis``, without neutral values."""
        sae = self.path.parent
        images = sae.parent.parent
        return {
            "images": listed.settings_of(images, read_meta(images, listed.STAGE)[0]["settings"]),
            "vit": read_meta(sae.parent, recorded.STAGE)[0]["settings"],
            "sae": read_meta(sae, trained.STAGE)[0]["settings"],
            "analysis": self._analysis.meta["settings"],
        }

    @cached_property
    def latents(self) -> "pd.DataFrame":
        """Figures of each latent (`latents.parquet`), indexed by ``latent``; NaN where
        undefined."""
        return self._analysis.table().to_pandas().set_index("latent")

    @cached_property
    def labels(self) -> "pd.DataFrame":
        """Labels of all listed images (`labels.parquet`), indexed by ``row``: ``label.<name>``."""
        table = self._analysis.labels
        return table.read(0, table.n_images).to_pandas().set_index("row")

    @cached_property
    def sae(self) -> "Sae":
        """The dictionary, on the CPU.

        Raises:
            UserError: it is missing, altered, or not the one that was analysed.
        """
        folder = self.path.parent
        _, digest = read_meta(folder, trained.STAGE)
        require_input(self._analysis.meta, trained.STAGE, digest, folder, self.path)
        return load(folder)

    def top_images(self, latent: int) -> "pd.DataFrame":
        """The images on which a latent is largest, best first.

        Args:
            latent: its number.

        Returns:
            a line for each image: ``row`` (int64), ``key`` (text), ``value`` (float32), ``patch``
            (Int64, NA if the vectors aren't patches), and ``label.<name>`` for each label (text,
            NaN if the image has none). There are fewer lines than ``top_images`` if the latent
            fires on fewer images, and none if it never fires.

        Raises:
            UserError: there is no such latent, or the listing of the images is missing.
        """
        import pandas as pd
        from safetensors import safe_open

        latent = latent_number(latent, self.summary["n_latents"])
        with safe_open(self._analysis.files.path(LATENTS), framework="np") as file:
            names = ("top_rows", "top_values", "top_patches")
            rows, values, patches = (file.get_slice(name)[latent : latent + 1][0] for name in names)
        there = rows >= 0
        rows, values, patches = rows[there], values[there], patches[there]
        unique, place = np.unique(rows, return_inverse=True)
        keys = [entry.key for entry in self._images.entries(unique.tolist())]
        labels = self._analysis.labels.take(rows)
        columns = {
            "row": rows,
            "key": pd.Series([keys[at] for at in place], dtype="str"),
            "value": values,
            "patch": pd.Series(patches, dtype="Int64").mask(patches < 0),
        }
        for name in self._analysis.labels.names:
            texts = [label[name] for label in labels]
            columns[f"label.{name}"] = pd.Series(texts, dtype="str")
        return pd.DataFrame(columns)

    def activations(self, layer: int | None = None, tokens: str | None = None) -> "RecordedVectors":
        """The recorded activations of the analysed images. They are mapped, not loaded.

        Args:
            layer: a block, counted from 0, or backwards from -1. None means that of the dictionary.
            tokens: ``cls``, ``patches`` or ``pooled`` (which has no layer). None means those of the
                dictionary.

        Raises:
            UserError: these activations weren't recorded (the message says which were), are
                missing, or were altered.
        """
        reader = self._reader
        if layer is None or tokens is None:
            name = str(self.sae.stream)
            if name not in reader.streams:
                raise UserError(f"{reader.path} doesn't hold {name}, which the dictionary needs")
            own = reader.streams[name]
            tokens = own.kind if tokens is None else tokens
            layer = own.layer if layer is None else layer
            if layer is not None and own.layer is None:
                raise UserError(
                    f"the dictionary of {self.path} sees {own.kind}, which has no layer: name "
                    "tokens too"
                )
        return RecordedVectors(reader, reader.stream(layer, tokens))

    def image(self, row: int) -> "Image.Image":
        """The image of a row, in RGB as a person sees it.

        Raises:
            UserError: there is no such row, or its file is gone, has changed, or can't be read.
        """
        from saev.images.damage import BadImage
        from saev.images.decode import open_rgb

        images, n = self._images, self._images.n_images
        if not 0 <= row < n:
            raise UserError(f"there is no row {row}: {images.path} has the rows 0 to {n - 1}")
        entry = images.read(row, row + 1)[0]
        record = self._reader.take_records(np.array([row]))[0]
        where = f"row {row}, {entry.key} of {self._source.where}"
        if record["skipped"] is not None:
            raise UserError(f"can't show {where}: it was skipped ({record['skipped']})")
        try:
            data = self._source.read(entry)
            if sha256_bytes(data) != record["sha256"]:
                raise BadImage("has changed since it was recorded (another SHA-256)")
            return open_rgb(data, images.settings.max_pixels, images.settings.gray_range)
        except (OSError, BadImage) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"can't show {where}: {reason}. Put the image back or, if the whole folder moved, "
                f"set its new place in the settings and start the workflow, which records nothing "
                f"again"
            ) from error

    @cached_property
    def _reader(self) -> Activations:
        reader = Activations(self._activations_path)
        require_input(self._analysis.meta, recorded.STAGE, reader.digest, reader.path, self.path)
        return reader

    @cached_property
    def _images(self) -> Images:
        return Images(self._activations_path.parent)

    @cached_property
    def _source(self) -> "Source[Any]":
        from saev.images.sources import open_source

        project = self._images.path.parent.parent
        return open_source(self._images.settings.moved(lambda path: located(path, project)))
