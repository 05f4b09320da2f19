"""Results for programs: dictionaries, runs, and the activations that they are of.

Reached as `saev.load` and `saev.open_run`. Nothing heavy is imported before it is needed: the tables of a
run are read without PyTorch.
"""

import json
import operator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saev.artifacts import activations as recorded
from saev.artifacts import images as listed
from saev.artifacts import sae as trained
from saev.artifacts.activations import Activations, Stream
from saev.artifacts.analysis import LABELS, LATENTS, STAGE, Analysis
from saev.artifacts.images import Images
from saev.artifacts.meta import META, read_meta
from saev.errors import UserError
from saev.files import read_json, sha256_bytes

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from saev.sae import Sae
    from saev.sources.base import Source

RUN, DICTIONARY = "results/{images}/{vit}/{sae}/{analysis}", "results/{images}/{vit}/{sae}"


def load(path: str | Path, device: str = "cpu") -> "Sae":
    """Read a dictionary, in evaluation mode and without gradients.

    Args:
        path: the directory of its training (`results/{images}/{vit}/{sae}`), or the checkpoint in it.
        device: where to put it.

    Returns:
        a module whose ``encode`` takes raw activations (b, d) float32 to latents (b, n), and whose
        ``decode`` takes these back.

    Raises:
        UserError: it is missing, altered, of a newer format, or no checkpoint of this project.
    """
    from saev.sae import load

    return load(path, device)


def open_run(path: str | Path) -> "Run":
    """Open a finished run; its files are read when they are asked for.

    Args:
        path: the directory of its analysis, `results/{images}/{vit}/{sae}/{analysis}`.

    Raises:
        UserError: there is no such directory, or the analysis isn't complete, was altered, or is of a
            newer format.
    """
    if stage_of(path) != STAGE:
        raise UserError(f"{path} is no run: name the directory of an analysis, {RUN}")
    return Run(path)


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
            f"{path} isn't complete: it has no {META}, which is written last. Run the workflow again, or "
            f"check the path: a run is called {RUN}"
        )
    meta = read_json(path / META)
    return str(meta.get("stage")) if isinstance(meta, dict) else ""


def require_input(meta: dict[str, Any], stage: str, digest: str, path: Path, of: Path) -> None:
    """Refuse a result that isn't the one that another was made from.

    Args:
        meta: ``meta.json`` of what was made; of: its directory.
        stage, digest, path: of the result before it, as it is now.

    Raises:
        UserError: it was made from another.
    """
    if meta["inputs"].get(stage) != digest:
        raise UserError(
            f"{of} was made from another result of the stage {stage} than {path} holds now: run the "
            f"workflow again"
        )


def located(given: str, project: Path) -> str:
    """A path of the settings, which is relative to where the workflow ran: ``project``, or here.

    Args:
        given: a path, or a pattern of paths.
        project: the folder that holds results/.
    """
    if Path(given).is_absolute():
        return given
    found = (str(base / given) for base in (project, Path()) if any(base.glob(given)))
    return next(found, str(project / given))


class Run:
    """One analysis with all that it was made from. Made by `open_run`.

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
        return f"saev.open_run({str(self.path)!r})"

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings that aren't neutral: of ``images``, ``vit``, ``sae`` and ``analysis``."""
        sae = self.path.parent
        return {
            "images": read_meta(sae.parent.parent, listed.STAGE)[0]["settings"],
            "vit": read_meta(sae.parent, recorded.STAGE)[0]["settings"],
            "sae": read_meta(sae, trained.STAGE)[0]["settings"],
            "analysis": self._analysis.meta["settings"],
        }

    @cached_property
    def latents(self) -> "pd.DataFrame":
        """Figures of each latent (`latents.parquet`), indexed by ``latent``; NaN where undefined."""
        return self._analysis.table().to_pandas().set_index("latent")

    @cached_property
    def labels(self) -> "pd.DataFrame":
        """Labels of all listed pictures (`labels.parquet`), indexed by ``row``: ``label.<name>``."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.path / LABELS).to_pandas().set_index("row")

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
        """The pictures on which a latent is largest, best first.

        Args:
            latent: its number.

        Returns:
            a line a picture: ``row`` (int64), ``key`` (text), ``value`` (float32), ``patch`` (Int64,
            NA where vectors are no patches), and ``label.<name>`` of each label (text, NaN without one).
            Fewer than were asked for if it fires on fewer, none if it never does.

        Raises:
            UserError: there is no such latent, or the listing of the pictures is gone.
        """
        import pandas as pd
        from safetensors import safe_open

        latent = latent_number(latent, self.summary["n_latents"])
        with safe_open(self.path / LATENTS, framework="np") as file:
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

    def activations(self, layer: int | None = None, tokens: str | None = None) -> "Vectors":
        """The recorded activations of the pictures that were analysed, mapped, not loaded.

        Args:
            layer: a block from 0, or from -1 backwards; that of the dictionary if None.
            tokens: ``cls``, ``patches`` or ``pooled`` (which has no layer); those of the dictionary if
                None.

        Raises:
            UserError: that wasn't recorded (says what was), or the activations are missing or altered.
        """
        reader = self._reader
        if layer is None or tokens is None:
            name = str(self.sae.stream)
            if name not in reader.streams:
                raise UserError(f"{reader.path} doesn't hold {name}, which the dictionary takes")
            own = reader.streams[name]
            tokens = own.kind if tokens is None else tokens
            layer = own.layer if layer is None else layer
            if layer is not None and own.layer is None:
                raise UserError(f"the dictionary of {self.path} is of {own.kind}: name tokens too")
        return Vectors(reader, reader.stream(layer, tokens))

    def picture(self, row: int) -> "Image.Image":
        """The picture of a row, in RGB as a person sees it.

        Raises:
            UserError: there is no such row, its file is gone, has changed, or can't be read.
        """
        from saev.decode import MAX_PIXELS, BadImage, open_rgb

        images, n = self._images, self._images.n_images
        if not 0 <= row < n:
            raise UserError(f"there is no row {row}: {images.path} has the rows 0 to {n - 1}")
        entry = images.read(row, row + 1)[0]
        record = self._reader.take_records(np.array([row]))[0]
        try:
            data = self._source.read(entry)
            if sha256_bytes(data) != record["sha256"]:
                raise BadImage("has changed since it was recorded (another SHA-256)")
            return open_rgb(data, images.settings.get("max_pixels", MAX_PIXELS))
        except (OSError, BadImage) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"can't show row {row}, {entry.key} of {self._source.where}: {reason}. Bring the picture "
                f"back to where it was when it was recorded"
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
    def _source(self) -> "Source":
        from saev.settings.images import SOURCES, ImagesSettings
        from saev.sources import open_source

        given = {k: v for k, v in self._images.settings.items() if k != "fingerprint"}
        project = self._images.path.parent.parent
        given |= {k: located(given[k], project) for k in SOURCES if k in given and k != "hub"}
        return open_source(ImagesSettings.model_validate_json(json.dumps(given)))


class Vectors:
    """Recorded activations in one place, a picture an entry, in the order of the rows.

    A position, a slice or an array of positions (or of bools) gives float32; only what is asked for is
    read. Pictures that were skipped aren't there: ``rows`` says which are.

    Attributes:
        stream: where they were recorded.
        rows: (r,) int64, row of each picture, ascending.
        shape: (r, d), for patches (r, patches, d).
        dtype: float32.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, reader: Activations, stream: Stream) -> None:
        self.stream, self._reader = stream, reader
        self.rows = reader.rows(0, reader.n_images)
        each = (stream.n_patches, stream.d) if stream.kind == "patches" else (stream.d,)
        self.shape: tuple[int, ...] = (len(self.rows), *each)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<{self.stream.name} of {self._reader.path}: {self.shape} float32>"

    def __getitem__(self, key: Any) -> np.ndarray:
        """Activations at the positions ``key``: float32, (d) or (patches, d) each.

        Raises:
            IndexError: a position is out of range.
        """
        rows = self.rows[key]
        if isinstance(key, slice) and key.step in (None, 1) and len(rows):
            # What lies side by side in the file isn't gathered.
            values = self._reader.read(self.stream, int(rows[0]), int(rows[-1]) + 1)[1]
            return self._reader.float32(values).reshape(len(rows), *self.shape[1:])
        return self.take(np.ravel(rows)).reshape(*np.shape(rows), *self.shape[1:])

    def take(self, rows: Any) -> np.ndarray:
        """Activations of pictures by their rows, (m,) in any order: (m, d) or (m, patches, d) float32.

        Raises:
            UserError: a row isn't there.
        """
        rows = np.asarray(rows, np.int64)
        values = self._reader.float32(self._reader.take(self.stream, rows))
        return values.reshape(len(rows), *self.shape[1:])


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
