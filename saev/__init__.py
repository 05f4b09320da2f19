"""saev: an explorable dictionary of what a vision transformer sees in your images.

    import saev

    sae = saev.load("results/…/cls-1a2b3c4d")
    run = saev.open_run("results/{images}/{vit}/{sae}/{analysis}")
    found = saev.Explorer("results/{images}/{vit}/{sae}/{analysis}").encode_images(images)

Each is imported when you first use it, so `import saev` alone costs nothing. See docs/python.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from saev.core import interrupts as _interrupts  # noqa: F401

if TYPE_CHECKING:
    from saev.api.explorer import Explorer
    from saev.api.run import load, open_run

__all__ = ["Explorer", "load", "open_run"]

# Import these by name. An import statement would put them into the digest of every stage's code,
# because this file is part of all of them. For the same reason, changing a statement here reruns
# everything.
_MODULES = {"Explorer": "saev.api.explorer", "load": "saev.api.run", "open_run": "saev.api.run"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'saev' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
