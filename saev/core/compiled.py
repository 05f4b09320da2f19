"""Compiling inner loops with Numba."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function when it is first called.

    The machine code is cached on disk, unless the cache folder isn't writable.

    Args:
        options: further options of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither the code's folder nor the home is writable
            return numba.njit(nogil=True, **options)(function)

    return decorate
