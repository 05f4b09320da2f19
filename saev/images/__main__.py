"""The `images` stage: list the images of a source and give each its row."""

from pathlib import Path

from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import place
from saev.core.meta import META, RUN, write_meta
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import scratch
from saev.images.artifact import (
    MANIFEST,
    PLACE,
    STAGE,
    manifest_summary,
    require_vouched,
    write_manifest,
)
from saev.images.sources import open_source
from saev.images.sources.source import passed_over
from saev.settings import from_plan
from saev.settings.images import AnyImagesSettings, ImagesResolved, ImagesSettings, content
from saev.settings.images import place as lies


def main(arguments: list[str]) -> None:
    """Write the manifest of one set of images."""
    parser = frame.parser("List the images of a folder, a data set or tars.")
    parser.add_argument(
        "--listing",
        help="listing that the workflow made when it started (default: list the source now)",
    )
    parser.add_argument("--out", required=True, help="directory results/{images}")
    args = parser.parse_args(arguments)
    spec = read_spec(args.spec)
    provenance = Provenance(STAGE, spec.code, args.threads)
    loose = from_plan.loose("images", Path(args.out).name)
    settings: ImagesSettings = spec.parsed(AnyImagesSettings, **loose)
    resolved = spec.found(ImagesResolved)
    source, out = open_source(settings), Path(args.out)
    once = Once(args.done, out, spec)
    with scratch(out, spec) as held:
        if once.there():
            once.take_up()
            return
        manifest = held.folder / MANIFEST
        if resolved.fingerprint is not None and args.listing:
            # This listing may be older than the folder, so that a new image doesn't disturb a run.
            require_vouched(Path(args.listing))
            found = manifest_summary(args.listing).fingerprint
            _require_same(resolved.fingerprint, found, source.where)
            manifest.write_bytes(Path(args.listing).read_bytes())
            notes = from_plan.notes(out.name)
        else:
            found = source.fingerprint()
            _require_same(resolved.fingerprint, found, source.where)
            write_manifest(manifest, found, source)
            notes = source.notes()
        summary = manifest_summary(manifest)
        if settings.n_images not in (None, summary.n_images):
            raise UserError(
                f"{source.where} holds {summary.n_images:,} images, but n_images says "
                f"{settings.n_images:,}: correct n_images (and version, if the images have changed)"
            )
        made = write_meta(
            held.folder,
            stage=STAGE,
            name=out.name,
            settings=content(settings, resolved),
            inputs={},
            summary=summary._asdict(),
            files=[MANIFEST],
        )
        held.require()
        for name in (MANIFEST, META):
            place(held.folder / name, out / name)
        provenance.write(out, **(notes | {PLACE: lies(settings)}))
        once.finish([*made, {"name": RUN}])
    left_out = passed_over(notes)
    text = f"; passed over: {left_out}" if left_out else ""
    logs.say(f"{source.where}: {summary.n_images:,} images{text}")


def _require_same(fingerprint: str | None, found: str, where: str) -> None:
    if fingerprint not in (None, found):
        raise UserError(
            f"{where} has changed since the workflow was started (images were added, removed "
            f"or changed): start the workflow again"
        )


if __name__ == "__main__":
    frame.run(main)
