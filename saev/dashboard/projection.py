"""Places latents on a plane by their decoder directions, for the map of the page.

    python -m saev.dashboard.projection --spec JSON --analysis DIR --sae DIR --out DIR

The projection lies beside the page, which isn't built again for it.
"""

from importlib.util import find_spec

from saev.analyze.artifact import STAGE as ANALYZE
from saev.analyze.artifact import Analysis
from saev.core import frame
from saev.core.errors import UserError
from saev.core.files import file_entry, write_bytes
from saev.core.machine import set_threads
from saev.core.once import Once
from saev.core.spec import read_spec
from saev.dashboard import artifact as names
from saev.dashboard.scripts import script

LIBRARY = "openTSNE"


def require_library(what: str) -> None:
    """Check that openTSNE is installed.

    Args:
        what: what needs it, for the message.

    Raises:
        UserError: it isn't.
    """
    if find_spec(LIBRARY) is None:
        raise UserError(
            f"{what} needs {LIBRARY}, which isn't installed: pip install "
            f"'saev-workflow[projection]', or in a clone pip install '.[projection]'"
        )


def main(arguments: list[str]) -> None:
    """Command line of the projection."""
    parser = frame.parser(str(__doc__))
    frame.add_folders(parser, analysis="analysis", sae="dictionary", out="page")
    args = parser.parse_args(arguments)
    spec, analysis = read_spec(args.spec), Analysis(args.analysis)
    once = Once(args.done, args.out, spec.settings, spec.code, analysis.digest)
    if once.there():
        return once.take_up()
    require_library("a projection")
    from saev.dashboard.tsne import places  # PyTorch takes seconds to import

    frame.require_same_code()
    set_threads(args.threads)
    content = places(analysis, args.sae)
    write_bytes(args.out / names.PROJECTION, script("projection", content))
    made = file_entry(args.out / names.PROJECTION)
    once.finish([made], spec.code, {ANALYZE: analysis.digest})


if __name__ == "__main__":
    frame.run(main)
