"""What is known of evaluations when the workflow is parsed: what they compare, and mistakes."""

from saev.core.errors import UserError
from saev.settings.baseline_runs import SHUFFLED
from saev.settings.config import Config, RunSettings
from saev.settings.elsewhere import ElsewhereSettings


def require_embeddings(
    config: Config, run: RunSettings, stream: str | None, n_blocks: int | None
) -> None:
    """Refuse a stream of embeddings that won't be recorded, or that the dictionary sees.

    Args:
        stream: what `monosemanticity` names; None if it isn't measured.
        n_blocks: of the tower, if known.

    Raises:
        UserError: lists what is allowed.
    """
    if stream is None:
        return
    vit, sae = config.vit[run.vit], config.sae[run.sae]
    layers = sorted({layer % n_blocks for layer in vit.layers} if n_blocks else vit.layers)
    recorded = ["pooled"] * ("pooled" in vit.tokens)
    recorded += [f"layer-{layer:02}.cls" for layer in layers if "cls" in vit.tokens]
    known = n_blocks is not None or all(layer >= 0 for layer in layers)
    trained = sae.layer if sae.layer is None or not n_blocks else sae.layer % n_blocks
    own = "pooled" if trained is None else f"layer-{trained:02}.{sae.tokens}"
    allowed = [name for name in recorded if name != own]
    if stream == own or (known and stream not in recorded):
        raise UserError(
            f"evaluation.{run.evaluation}.monosemanticity: {stream} "
            + ("is what the dictionary sees" if stream == own else "isn't recorded")
            + f" in the run with vit {run.vit!r} and sae {run.sae!r}; allowed: "
            + (", ".join(allowed) or "none: record pooled too (vit.tokens)")
        )


def other_seeds(config: Config, run: RunSettings) -> list[RunSettings]:
    """The runs whose dictionaries differ from that of ``run`` in `init_seed` alone."""
    own = config.sae[run.sae]
    if isinstance(own, ElsewhereSettings):  # nobody knows its seeds
        return []
    alike = []
    for one in config.runs:
        other = config.sae[one.sae]
        if (one.images, one.vit) != (run.images, run.vit) or isinstance(other, ElsewhereSettings):
            continue
        same = other.model_copy(update={"init_seed": own.init_seed}) == own
        if same and other.weights_seed != own.weights_seed:
            alike.append(one)
    return alike


def require_stability(config: Config, run: RunSettings) -> None:
    """Refuse shuffled activations as the baseline of a stability that nobody measures.

    Raises:
        UserError: says what the run needs.
    """
    if SHUFFLED not in run.baselines:
        return
    where = f"runs (vit {run.vit!r}, sae {run.sae!r}): baselines: {SHUFFLED}"
    named = None if run.evaluation is None else config.evaluation[run.evaluation]
    if named is None or not named.stability:
        raise UserError(
            f"{where} stands beside the stability of an evaluation: name one with stability, or "
            f"leave {SHUFFLED} out"
        )
    if not other_seeds(config, run):
        raise UserError(
            f"{where} stands beside the stability of the dictionary, but no other run differs in "
            f"init_seed alone: give sae.{run.sae} sweep: {{init_seed: [0, 1, 2]}}, or leave "
            f"{SHUFFLED} out"
        )
