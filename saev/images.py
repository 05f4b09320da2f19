"""The `images` stage: list the pictures of a source, which gives each its row."""

import json
from pathlib import Path

from saev import logs, stage
from saev.artifacts.images import MANIFEST, STAGE, manifest_summary, write_manifest
from saev.artifacts.meta import write_meta
from saev.errors import UserError
from saev.files import atomic_path
from saev.settings.images import ImagesSettings
from saev.sources import open_source


def main(arguments: list[str]) -> None:
    """Write the manifest of one set of pictures."""
    parser = stage.parser("List the pictures of a folder, a data set or tars.")
    parser.add_argument("--listing", help="the listing taken when the workflow was parsed")
    parser.add_argument("--out", required=True, help="directory results/{images}")
    args = parser.parse_args(arguments)
    spec = stage.read_spec(args.spec)
    record = stage.Record(STAGE, spec, args.threads)
    given = dict(spec.settings)
    fingerprint = given.pop("fingerprint", None)
    settings = ImagesSettings.model_validate_json(json.dumps(given))
    source, out = open_source(settings), Path(args.out)
    manifest = out / MANIFEST

    with atomic_path(manifest) as temporary:
        if fingerprint is not None and args.listing:
            # The listing may be older than what is there now: a run isn't disturbed by a new picture.
            _require_same(fingerprint, manifest_summary(args.listing).fingerprint, source.where)
            temporary.write_bytes(Path(args.listing).read_bytes())
        else:
            found = source.fingerprint()
            _require_same(fingerprint, found, source.where)
            write_manifest(temporary, source, found)
        summary = manifest_summary(temporary)
        if settings.n_images not in (None, summary.n_images):
            raise UserError(
                f"{source.where} holds {summary.n_images:,} pictures, but n_images says "
                f"{settings.n_images:,}: correct n_images (and version, if the pictures have changed)"
            )
    record.write(out, **source.notes())
    write_meta(
        out,
        stage=STAGE,
        name=out.name,
        settings=spec.settings,
        inputs={},
        summary=summary._asdict(),
        files=[MANIFEST],
    )
    logs.say(f"{source.where}: {summary.n_images:,} pictures")


def _require_same(fingerprint: str | None, found: str, where: str) -> None:
    if fingerprint not in (None, found):
        raise UserError(
            f"{where} isn't what it was when the workflow was started (pictures were added, "
            f"removed or changed): start it again"
        )


if __name__ == "__main__":
    stage.run(main)
