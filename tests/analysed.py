"""A small analysis (activations, a dictionary, labels), made without images or training."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from synthetic import write_activations

from saev import sae as saes
from saev.activations.artifact import Activations
from saev.analyze.artifact import n_parts
from saev.analyze.inputs import Inputs, open_inputs
from saev.analyze.merge import write_merged
from saev.analyze.parts import write_part
from saev.core.blocks import BLOCK
from saev.core.meta import write_meta
from saev.core.spec import parsed
from saev.labels.artifact import TABLE, labels_folder
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.labels import LabelSettings
from saev.settings.sae import AnySaeSettings
from saev.train.artifact import CHECKPOINT

TOPK = {"architecture": "topk", "n_latents": 24, "k": 3, "seed": 5, "held_out": 0.2}
RELU = {"architecture": "relu", "n_latents": 24, "l1": 0.1, "seed": 5, "held_out": 0.2}


def write_images(folder: Path, keys: list[str], **source: list) -> Path:
    """Write a manifest of ``keys`` and of columns ``source.<name>``."""
    folder.mkdir(parents=True, exist_ok=True)
    n = len(keys)
    columns = {"row": pa.array(range(n), pa.int64()), "key": keys, "bytes": [1] * n}
    columns |= {f"source.{name}": values for name, values in source.items()}
    pq.write_table(pa.table(columns), folder / "manifest.parquet")
    settings = {"folder": str(folder / "pictures")}
    write_meta(
        folder,
        stage="images",
        name=folder.name,
        settings=settings,
        inputs={},
        summary={"n_images": n},
        files=["manifest.parquet"],
    )
    return folder


def write_sae(
    folder: Path,
    activations: Path,
    stream: str,
    settings: dict[str, Any],
    dead: int = 2,
    always: int = 0,
) -> Path:
    """Write a dictionary with random weights; its first ``dead`` latents never fire, its last
    ``always`` do."""
    reader = Activations(activations)
    d = reader.streams[stream].d
    rng = torch.Generator().manual_seed(settings["seed"])
    needed = {"batch_size": 8, "epochs": 1.0, "lr": 1e-3, "layer": 1, "tokens": "cls"}
    settings = {**needed, **settings}
    own = settings.get("init_seed")
    directions = None if own is None else torch.Generator().manual_seed(own)
    sae = saes.build(parsed(AnySaeSettings, settings), d, directions)
    with torch.no_grad():
        sae.W_enc.copy_(sae.W_dec.T)
    sae.b_enc.data = 0.2 * torch.randn(sae.n_latents, generator=rng)
    sae.b_enc.data[:dead] = -1000
    sae.b_enc.data[sae.n_latents - always :] = 30
    sae.b_dec.data = 0.1 * torch.randn(d, generator=rng)
    sae.norm_mean.copy_(torch.randn(d, generator=rng) * 0.3)
    sae.norm_scale.copy_(0.5 + torch.rand(d, generator=rng))
    inputs = {"activations": reader.digest}
    saes.save(sae, folder / CHECKPOINT, inputs=inputs, stream=stream)
    write_meta(
        folder,
        stage="train",
        name=folder.name,
        settings=settings,
        inputs=inputs,
        summary={},
        files=[CHECKPOINT],
    )
    return folder


def write_labels(folder: Path, n: int, labels: dict[str, list[str | None]]) -> Path:
    """Write a directory of labels as the stage does."""
    columns = {"row": pa.array(range(n), pa.int64())}
    columns |= {f"label.{name}": pa.array(v, pa.string()) for name, v in sorted(labels.items())}
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / TABLE, row_group_size=BLOCK)
    write_meta(
        folder,
        stage="labels",
        name=folder.name,
        settings={"labels": {name: {"folder": True} for name in labels}},
        inputs={},
        summary={},
        files=[TABLE],
    )
    return folder


class Case:
    """A directory with everything an analysis needs. The test has its inputs in memory."""

    @classmethod
    def made(cls, folder: Path) -> "Case":
        """One that another process has made in ``folder``, without its inputs in memory."""
        case = cls.__new__(cls)
        case.activations, case.sae = folder / "vit", folder / "vit/sae"
        case.out, (case.table,) = case.sae / "analysis", (folder / "labels").iterdir()
        return case

    def __init__(
        self,
        folder: Path,
        values: np.ndarray,
        labels: dict[str, list[str | None]],
        *,
        absent: tuple[int, ...] = (),
        shard_images: int = BLOCK,
        sae: dict[str, Any] = TOPK,
        top_images: int = 4,
        dtype: str = "float32",
        always: int = 0,
        more: dict[str, np.ndarray] | None = None,
    ) -> None:
        """``more`` streams may be recorded beside that of the dictionary."""
        self.values, self.labels, self.absent = values, labels, absent
        self.stream = "layer-01.patches" if values.ndim == 3 else "layer-01.cls"
        self.activations = write_activations(
            folder / "vit",
            {self.stream: values, **(more or {})},
            absent=absent,
            shard_images=shard_images,
            dtype=dtype,
        )
        self.sae = write_sae(
            self.activations / "sae", self.activations, self.stream, sae, always=always
        )
        self.out = self.sae / "analysis"
        sources = {name: LabelSettings(folder=True) for name in labels}
        self.settings = AnalysisSettings(labels=sources, top_images=top_images)
        self.table = None
        if labels:
            self.table = labels_folder(folder, self.settings.essential()["labels"])
            write_labels(self.table, len(values), labels)

    def open(self, **changes: Any) -> Inputs:
        """Open the inputs."""
        given = {
            "settings": self.settings,
            "sae_folder": self.sae,
            "activations_folder": self.activations,
            "labels": self.table,
            "device": torch.device("cpu"),
        }
        return open_inputs(**(given | changes))

    def part(self, part: int, part_images: int = BLOCK) -> None:
        """Write one part."""
        scratch = self.out / f"scratch-{part}"
        scratch.mkdir(parents=True)
        write_part(self.open(), self.settings, part, self.out, scratch, part_images)

    def analyse(self, part_images: int = BLOCK) -> dict[str, Any]:
        """Run all parts and the merge; return the summary."""
        n = n_parts(len(self.values), part_images)
        for part in range(n):
            self.part(part, part_images)
        return write_merged(
            self.open(), self.settings, AnalysisResolved(), n, self.out, self.out, part_images
        )[1]

    def results(self) -> dict[str, bytes]:
        """Bytes of what the analysis has made."""
        names = ("latents.safetensors", "latents.parquet", "meta.json")
        return {name: (self.out / name).read_bytes() for name in names}


def cycling(n: int, *texts: str | None) -> list[str | None]:
    """Labels that repeat ``texts``."""
    return [texts[i % len(texts)] for i in range(n)]


def vectors(n: int, d: int = 10, patches: int = 0, seed: int = 0) -> np.ndarray:
    """Random activations, (n, d) or (n, patches, d)."""
    shape = (n, patches, d) if patches else (n, d)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def some_labels(n):
    kinds = [f"c{(i * i) % 5}" if i % 7 else None for i in range(n)]
    return {"kind": kinds, "only": cycling(n, "x"), "never": cycling(n, None)}
