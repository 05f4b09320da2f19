"""Presets: named groups of settings. `preset: NAME` in an entry stands for all settings of the
group. Other keys of the entry override them."""

from typing import Any

from saev.core.errors import UserError

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # The first dictionaries of vision models, 2024. docs/relu_2024.md says how this code differs.
    "relu_2024": {
        "sae": {
            "architecture": "relu",
            "l1": 8e-5,
            "ghost_gradients": True,
            "mse_over_norm": True,
            "normalisation": "none",
            "lr": 4e-4,
            "warmup_steps": 500,
            "batch_size": 1024,
            "init_rows": 15 * 1024,
            "dead_after": 5000 * 1024,
        },
        "analysis": {"top_images": 20},
    },
}
"""Settings by preset, then by kind of entry."""


def expanded(raw: dict[str, Any]) -> dict[str, Any]:
    """Write out the presets in settings as read from YAML.

    Raises:
        UserError: there is no such preset.
    """
    return {
        kind: {name: _expanded(kind, name, entry) for name, entry in entries.items()}
        if kind in ("sae", "analysis") and isinstance(entries, dict)
        else entries
        for kind, entries in raw.items()
    }


def _expanded(kind: str, name: str, entry: Any) -> Any:
    if not isinstance(entry, dict) or "preset" not in entry:
        return entry
    known = [preset for preset, kinds in PRESETS.items() if kind in kinds]
    if entry["preset"] not in known:
        raise UserError(
            f"{kind}.{name}.preset: there is no preset {entry['preset']!r}; allowed: "
            f"{', '.join(known)}"
        )
    own = {key: value for key, value in entry.items() if key != "preset"}
    return PRESETS[entry["preset"]][kind] | own
