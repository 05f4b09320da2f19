"""The `labels` stage: join the labels of images to their rows."""

from pathlib import Path

from saev.core import frame
from saev.core.files import place
from saev.core.meta import META, RUN, write_meta
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import scratch
from saev.images.artifact import STAGE as IMAGES
from saev.images.artifact import Images
from saev.labels.artifact import STAGE, TABLE
from saev.labels.join import write_labels
from saev.settings.component import identity
from saev.settings.labels import LabelsResolved, LabelsSettings


def main(arguments: list[str]) -> None:
    """Write the table of labels of one set of images."""
    parser = frame.parser("Read the labels of all listed images.")
    parser.add_argument("--images", required=True, metavar="DIR", help="directory results/{images}")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the labels")
    args = parser.parse_args(arguments)
    spec = read_spec(args.spec)
    provenance = Provenance(STAGE, spec.code, args.threads)
    settings: LabelsSettings = spec.parsed(LabelsSettings)
    resolved, out = spec.found(LabelsResolved), Path(args.out)
    images = Images(args.images)
    key = (identity(settings, resolved), spec.code, images.digest)
    once = Once(args.done, out, *key)
    with scratch(out, *key) as held:
        if once.there():
            once.take_up()
            return
        labelled = write_labels(settings, resolved, images.path, held.folder)
        made = write_meta(
            held.folder,
            stage=STAGE,
            name=out.name,
            settings=identity(settings, resolved),
            inputs={IMAGES: images.digest},
            summary={"n_images": images.n_images, "n_labelled": labelled},
            files=[TABLE],
        )
        held.require()
        for name in (TABLE, META):
            place(held.folder / name, out / name)
        provenance.write(out)
        once.finish([*made, {"name": RUN}])


if __name__ == "__main__":
    frame.run(main)
