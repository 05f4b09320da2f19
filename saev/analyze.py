"""The `analyze` stage: what each latent of a dictionary sees in the images.

    python -m saev.analyze labels --spec JSON --images DIR --activations DIR --out DIR
    python -m saev.analyze part   --spec JSON --sae DIR --activations DIR --labels FILE --part N --out DIR
    python -m saev.analyze merge  --spec JSON --sae DIR --activations DIR --labels FILE --n-parts N --out DIR

A part that is killed starts again at its beginning: it is small (`saev.artifacts.analysis.PART`).
"""

import shutil
import time
from pathlib import Path
from typing import Any

from saev import logs, stage
from saev.analysis.inputs import Inputs, open_inputs
from saev.analysis.labels import write_labels
from saev.analysis.merge import write_merged
from saev.analysis.parts import write_part
from saev.artifacts.activations import Activations
from saev.artifacts.analysis import STAGE, part_folder
from saev.artifacts.images import Images
from saev.artifacts.meta import RUN
from saev.errors import UserError
from saev.files import read_json
from saev.progress import quantity


def main(arguments: list[str]) -> None:
    """Run one of the three steps."""
    parser = stage.parser(str(__doc__))
    parser.add_argument("step", choices=("labels", "part", "merge"))
    for name in ("images", "sae", "activations", "labels"):
        parser.add_argument(f"--{name}", metavar="DIR" if name != "labels" else "FILE")
    parser.add_argument("--part", type=int, metavar="N", help="number of the part, from 0")
    parser.add_argument("--n-parts", type=int, metavar="N", help="number of parts")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the analysis")
    given = parser.parse_args(arguments)
    needed = {
        "labels": ("images", "activations"),
        "part": ("sae", "activations", "labels", "part"),
        "merge": ("sae", "activations", "labels", "n_parts"),
    }
    for name in needed[given.step]:
        if getattr(given, name) is None:
            parser.error(f"{given.step} needs --{name.replace('_', '-')}")
    {"labels": _labels, "part": _part, "merge": _merge}[given.step](given)


def _labels(given: Any) -> None:
    spec = stage.read_spec(given.spec)
    images, activations = Images(given.images), Activations(given.activations)
    if images.n_images != activations.n_images:
        raise UserError(
            f"{given.images} lists {images.n_images:,} images, but {given.activations} was recorded "
            f"of {activations.n_images:,}: record them again"
        )
    write_labels(spec.settings, given.images, given.out)


def _open(given: Any, settings: dict[str, Any]) -> Inputs:
    stage.set_threads(given.threads)
    device = stage.torch_device(stage.compute()["device"])
    return open_inputs(settings, given.sae, given.activations, given.labels, device)


def _part(given: Any) -> None:
    spec = stage.read_spec(given.spec)
    record = stage.Record(STAGE, spec, given.threads)
    inputs = _open(given, spec.settings)
    out, started = Path(given.out), time.monotonic()
    key = (spec.settings, spec.code, inputs.digests, inputs.labels_sha256, given.part)
    with stage.state(out, *key) as folder:
        shutil.rmtree(folder)  # a killed try is begun anew
        folder.mkdir()
        write_part(inputs, spec.settings, given.part, out, folder)
        stage.discard(folder)
    record.write(out / part_folder(given.part), pass_seconds=round(time.monotonic() - started, 3))


def _merge(given: Any) -> None:
    spec = stage.read_spec(given.spec)
    record = stage.Record(STAGE, spec, given.threads)
    inputs, out = _open(given, spec.settings), Path(given.out)
    runs = [out / part_folder(part) / RUN for part in range(given.n_parts)]
    seconds = sum(read_json(path)["pass_seconds"] for path in runs if path.is_file())
    summary = write_merged(inputs, spec.settings, given.n_parts, out)
    n_vectors, n_dead = summary["all"]["n_vectors"], summary["all"]["n_dead"]
    rate = {"parts_seconds": round(seconds, 3)}
    if seconds:
        rate["vectors_per_second"] = round(n_vectors / seconds, 1)
        logs.say(f"analysed {n_vectors:,} vectors, {quantity(n_vectors / seconds)} a second")
    logs.say(f"{n_dead:,} of {summary['n_latents']:,} latents are dead on these images")
    record.write(out, device=inputs.sae.W_dec.device.type, **rate)


if __name__ == "__main__":
    stage.run(main)
