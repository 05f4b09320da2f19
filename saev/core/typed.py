"""Run-time checks of shapes and dtypes on public tensor functions."""

from beartype import beartype
from jaxtyping import jaxtyped

typed = jaxtyped(typechecker=beartype)
