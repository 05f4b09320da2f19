"""How a dictionary looks where people see it."""

from typing import Any

from saev.core import shown


def as_line(sae: Any) -> str:
    """An `Sae` in one line."""
    return shown.line("dictionary", sae.architecture, _figures(sae))


def as_card(sae: Any) -> str:
    """An `Sae` as HTML, with its equation."""
    return shown.card("dictionary", sae.architecture, _figures(sae), note=sae.equation)


def _figures(sae: Any) -> dict[str, object]:
    return {
        "latents": sae.n_latents,
        "width": sae.d,
        "of": sae.stream,
        **sae.settings.in_short(),
        "normalisation": sae.settings.normalisation,
        "on": sae.W_dec.device.type,
    }
