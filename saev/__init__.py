"""saev: an explorable dictionary of what a vision transformer sees in your images.

    import saev

    sae = saev.load("results/…/cls-1a2b3c4d")
    run = saev.open_run("results/{images}/{vit}/{sae}/{analysis}")
    found = saev.Explorer("results/{images}/{vit}/{sae}/{analysis}").encode_images(pictures)

Each is imported when it is first used: `import saev` alone costs nothing. See docs/python.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saev.door import load, open_run
    from saev.explorer import Explorer

__all__ = ["Explorer", "load", "open_run"]

# By name and never by an import statement, which would put them into the digest of every stage's code:
# this file is part of all of them, so a statement changed here reruns everything.
_MODULES = {"Explorer": "saev.explorer", "load": "saev.door", "open_run": "saev.door"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'saev' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
