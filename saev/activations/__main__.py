"""The `activations` stage: run a tower over the images shard by shard, then seal the result.

python -m saev.activations record --spec JSON --images DIR --shard N --out DIR
python -m saev.activations seal   --spec JSON --images DIR --out DIR
"""

import argparse
from pathlib import Path

from saev.activations.artifact import ALL_SHARDS, RECORDS, STAGE, STATS, TWINS, shard_json
from saev.activations.resolved import vit_settings
from saev.activations.seal import seal, volatile
from saev.activations.verified import Verified
from saev.core import frame
from saev.core.files import file_entry, place, read_json, sha256_bytes
from saev.core.machine import set_threads
from saev.core.meta import META, RUN
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import scratch
from saev.images.artifact import Images
from saev.images.decode import take_over_pillow
from saev.settings import from_plan


def main(arguments: list[str]) -> None:
    """`record` one shard, or `seal` them all."""
    commands = frame.Commands(str(__doc__))
    recording = commands.add("record", _record, "record the activations of one shard")
    recording.add_argument("--shard", required=True, type=int, help="number of the shard, from 0")
    sealing = commands.add("seal", _seal, "check all shards and join their records and statistics")
    for command in (recording, sealing):
        command.add_argument("--images", required=True, help="directory results/{images}")
        command.add_argument("--out", required=True, help="directory results/{images}/{vit}")
    commands.run(arguments)


def _record(args: argparse.Namespace) -> None:
    spec = read_spec(args.spec)
    provenance = Provenance(STAGE, spec.code, args.threads)
    images, out = Images(args.images), Path(args.out)
    once = Once(args.done, out, spec, images.digest, args.shard)
    if once.there(Verified(out).matches):
        return once.take_up()
    from saev.activations.recording import record  # PyTorch takes seconds to import

    frame.require_same_code()
    set_threads(args.threads)
    take_over_pillow()
    compute = from_plan.compute()
    loose = from_plan.loose("images", images.path.name)
    on_bad = images.settings.model_copy(update=loose).on_bad_image
    workers = args.threads if compute.workers == "auto" else compute.workers
    figures = record(spec, images, args.shard, out, workers, args.threads, on_bad, compute.device)
    provenance.write(out / "runs", f"shard-{args.shard:05}.json", **figures)
    sidecar = shard_json(args.shard)
    once.finish([*read_json(out / sidecar)["files"], file_entry(out / sidecar, sidecar)])


def _seal(args: argparse.Namespace) -> None:
    spec = read_spec(args.spec)
    provenance = Provenance(STAGE, spec.code, args.threads)
    images, out = Images(args.images), Path(args.out)
    sidecars = [path.read_bytes() for path in sorted(out.glob(ALL_SHARDS))]
    key = (spec, images.digest, sha256_bytes(b"".join(sidecars)))
    once = Once(args.done, out, *key)
    with scratch(out, "seal", *key) as held:
        if once.there():
            once.take_up()
        else:
            made = seal(spec, images, out, held.folder, vit_settings(spec))
            held.require()
            for name in (RECORDS, STATS, TWINS, META):
                place(held.folder / name, out / name)
            provenance.write(out, **volatile(out))
            once.finish([*made, {"name": RUN}])


if __name__ == "__main__":
    frame.run(main)
