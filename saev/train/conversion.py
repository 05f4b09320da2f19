"""Converts a dictionary from elsewhere, in place of training one.

The result has the files of a training. Its curve has one line: figures of the dictionary on a
sample of the recorded vectors.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saev import sae as saes
from saev.activations.artifact import Activations, Stream
from saev.activations.towers.unpickled import PassedOver, read_tensors
from saev.core import logs, metrics
from saev.core.errors import UserError
from saev.core.files import canonical_json, sha256_file, write_bytes
from saev.core.machine import set_threads
from saev.core.meta import RUN, write_meta
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import Spec
from saev.core.state import Held, state
from saev.elsewhere.common_form import Arrays, Hints, Plain
from saev.elsewhere.fetching import fetched
from saev.elsewhere.libraries import FORMATS, Recognised, look
from saev.sae import Sae
from saev.settings.component import identity
from saev.settings.elsewhere import ConvertedSettings, ElsewhereResolved, ElsewhereSettings
from saev.train import finished, learning_plot, loader
from saev.train.artifact import CHECKPOINT, CURVE, HELD_OUT, PLOT, STAGE
from saev.train.split import Split, split_images
from saev.train.step_sums import step_sums

SAMPLE = 16_384
"""Largest number of vectors that a dictionary is judged by."""
PURPOSE = 7
"""Third number of the seed of these vectors."""
CHUNK = 1024
WORSE_THAN_THE_MEAN = 1.0


def run(
    spec: Spec, activations_folder: str, out: Path, done: Path | None, threads: int | None
) -> None:
    """Do the job of a dictionary from elsewhere.

    Args:
        spec: its settings, and what the plan found.
        activations_folder: the recording that it is for.
        out: its directory; done: the stamp of its job.
        threads: how many threads the job may use, for `run.json`.

    Raises:
        UserError: its files are missing or have changed, can't be read safely or converted
            exactly, or don't fit the recorded vectors.
    """
    settings: ElsewhereSettings = spec.parsed(ElsewhereSettings)
    resolved = spec.found(ElsewhereResolved)
    provenance = Provenance(STAGE, spec.code, threads)
    activations = Activations(activations_folder, verify="sha256")
    inputs = {"activations": activations.digest}
    key = (identity(settings, resolved), spec.code, inputs)
    once = Once(done, out, *key)
    if once.there():
        return once.take_up()
    with state(out, *key) as held:
        if once.there():
            once.take_up()
            return held.discard()
        try:
            made = _make(out.name, settings, resolved, activations, held)
        except UserError:
            held.discard()
            raise
        held.require()
        finished.take(held.folder, out)
        provenance.write(out, device="cpu", checkpoint=settings.checkpoint)
        once.finish([*made, {"name": RUN}])
        held.discard()


def _make(
    name: str,
    settings: ElsewhereSettings,
    resolved: ElsewhereResolved,
    activations: Activations,
    held: Held,
) -> list[dict[str, Any]]:
    """Write the files into the state; return their entries. Arguments and errors: see `run`."""
    set_threads(1)
    inputs = {"activations": activations.digest}
    stream = activations.stream(settings.layer, settings.tokens)
    path = fetched(settings.checkpoint, cached=True)
    found = look(path, Hints(settings.selects, settings.k))
    files = _digests(found, resolved)
    sae = converted(found, settings, files, stream, held.folder)
    split = split_images(activations, settings.held_out, settings.seed, resolved.groups)
    line, doubts = judged(sae, found, activations, stream)
    for doubt in doubts:
        logs.say(f"warning: {name}: {doubt}")
    folder = finished.folder_of(held.folder)
    folder.mkdir(exist_ok=True)
    saes.save(sae, folder / CHECKPOINT, inputs=inputs, stream=stream.name)
    write_bytes(folder / CURVE, f"{canonical_json(line)}\n".encode())
    title = f"{name} · {found.format} {found.described.trained_as} on {stream.name}"
    learning_plot.draw([line], sae.n_latents, title, folder / PLOT)
    if split.groups is not None:
        np.save(folder / HELD_OUT, split.held_out)
    return write_meta(
        folder,
        stage=STAGE,
        name=name,
        settings=sae.settings.model_dump(mode="json", exclude_defaults=True),
        inputs=inputs,
        summary=_summary(line, split, doubts),
        files=[*finished.results(held.folder)],
        plots=[PLOT],
    )


def _summary(line: dict[str, Any], split: Split, doubts: list[str]) -> dict[str, Any]:
    grouped = {} if split.groups is None else {"groups": split.groups}
    return {
        "converted": True,
        "n_held_out_images": len(split.held_out),
        **grouped,
        "final": line,
        **({"doubts": doubts} if doubts else {}),
    }


def _digests(found: Recognised, resolved: ElsewhereResolved) -> dict[str, str]:
    """SHA-256 of each file, by name.

    Raises:
        UserError: they aren't those that the plan found.
    """
    digests = {path.name: sha256_file(path) for path in found.described.files}
    if resolved.checkpoint and digests != resolved.checkpoint:
        changed = sorted(n for n, d in digests.items() if resolved.checkpoint.get(n) != d)
        raise UserError(
            f"{found.described.weights.parent}: {', '.join(changed)} has changed since the "
            f"workflow started: start it again"
        )
    return digests


def converted(
    found: Recognised,
    settings: ElsewhereSettings,
    files: dict[str, str],
    stream: Stream,
    scratch: Path,
) -> Sae:
    """The dictionary in this project's form, in evaluation mode.

    Args:
        found: its format and description.
        settings: its entry; files: SHA-256 of each of its files.
        stream: the recorded vectors that it is for.
        scratch: a folder for a copy of the weights, if they follow a header.

    Raises:
        UserError: see `run`.
    """
    name, described = found
    plain = FORMATS[name].convert(described, arrays(found, scratch))
    d, n = plain.W_enc.shape
    if d != stream.d:
        raise UserError(
            f"{described.weights} takes vectors of width {d}, but {stream.name} has width "
            f"{stream.d}: it is for another tower or layer"
        )
    recorded = described.config.get("stream")
    if recorded is not None and recorded != stream.name:
        raise UserError(
            f"{described.weights} was trained on {recorded}, not on {stream.name}: name that layer "
            f"and those tokens"
        )
    kept = ConvertedSettings(
        architecture="converted",
        format=name,
        trained_as=described.trained_as,
        files=files,
        layer=settings.layer,
        tokens=settings.tokens,
        n_latents=n,
        k=described.k if described.k is None else min(described.k, n),
        seed=settings.seed,
        held_out=settings.held_out,
        held_out_by=settings.held_out_by,
    )
    sae = saes.build(kept, d)  # type: ignore[arg-type]
    sae.load_state_dict(_float32(plain, described.weights))
    return sae.eval().requires_grad_(False)


def _float32(plain: Plain, path: Path) -> dict[str, torch.Tensor]:
    """The arrays as tensors of `Converted`.

    Raises:
        UserError: a value is too large for float32.
    """
    d = len(plain.b_dec)
    values = {
        "W_enc": plain.W_enc,
        "b_enc": plain.b_enc,
        "W_dec": plain.W_dec,
        "b_dec": plain.b_dec,
        "norm_mean": np.zeros(d) if plain.mean is None else plain.mean,
        "norm_scale": np.ones(d) if plain.scale is None else plain.scale,
    }
    if plain.threshold is not None:
        values["threshold"] = plain.threshold
    with np.errstate(over="ignore"):
        narrow = {name: np.ascontiguousarray(v, np.float32) for name, v in values.items()}
    for name, array in narrow.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} has values too large for float32")
    return {name: torch.from_numpy(array.copy()) for name, array in narrow.items()}


def arrays(found: Recognised, scratch: Path) -> Arrays:
    """The tensors of a file, float64. PyTorch's files are read with `weights_only=True` alone.

    Raises:
        UserError: the file is damaged, or holds more than tensors.
    """
    path, start = found.described.weights, found.described.config.get("start", 0)
    read = path
    if start:
        read = scratch / "state.pt"
        with path.open("rb") as source, read.open("wb") as copy:
            source.seek(start)
            shutil.copyfileobj(source, copy)
    objects: list[Any] = [(PassedOver, name) for name in FORMATS[found.format].objects]
    try:
        with torch.serialization.safe_globals(objects):
            tensors = read_tensors(read)
    except UserError as error:
        raise UserError(str(error).replace(str(read), str(path))) from error
    return {name: value.to(torch.float64).numpy() for name, value in tensors.items()}


@torch.no_grad()
def judged(
    sae: Sae, found: Recognised, activations: Activations, stream: Stream
) -> tuple[dict[str, Any], list[str]]:
    """Figures on a sample of the recorded vectors, and reasons to distrust the dictionary.

    Raises:
        UserError: it would keep negative latents of a vector, which ours doesn't.
    """
    rows = activations.rows(0, activations.n_images)
    vectors = loader.Streamed(activations, stream, rows)
    chosen = loader.sample(vectors.n, SAMPLE, [0, 0, PURPOSE])
    centre = torch.from_numpy(activations.stats(stream)["mean"])
    centre = (centre - sae.norm_mean.double()) / sae.norm_scale.double()
    sums, fired = metrics.StepSums(0, 0.0, 0.0, 0), torch.zeros(sae.n_latents, dtype=torch.bool)
    for at in range(0, len(chosen), CHUNK):
        x = torch.from_numpy(vectors.gather(chosen[at : at + CHUNK]))
        z, u = sae.encode(x), sae.normalise(x)
        n_active = (z > 0).sum(dim=1)
        if found.described.signed and int(n_active.min()) < (found.described.k or 0):
            raise UserError(
                f"{found.described.weights}: for some vectors of {stream.name}, fewer than "
                f"{found.described.k} latents are positive; {found.format} then keeps negative "
                f"ones, and this project doesn't: it can't be converted"
            )
        sums += step_sums(u, u - (z @ sae.W_dec + sae.b_dec), n_active, centre)
        fired |= (z > 0).any(dim=0)
    nmse, l0 = metrics.nmse_about_shift(sums), metrics.l0(sums)
    line = {
        "step": 0,
        "examples": 0,
        # None of these vectors is one that it was trained on.
        **{"nmse": None, "eval_nmse": nmse, "l0": l0, "eval_l0": l0},
        "dead": int((~fired).sum()),
        "eval_n": len(chosen),
    }
    doubts = []
    if nmse is not None and nmse > WORSE_THAN_THE_MEAN:
        doubts.append(
            f"its error on {stream.name} is {nmse:.3g} times that of the mean vector: it may be "
            f"for another tower or layer, or for vectors that were normalised first"
        )
    return line, doubts
