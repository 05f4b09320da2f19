"""Stability: whether a dictionary with another `init_seed` finds the same latents.

For latent j of a dictionary with unit decoder rows w, and S others with rows v^s, trained on the
same data in the same order (Paulo and Belrose 2025, Sparse autoencoders trained on the same data
learn different features)::

    stability_j = 1/S · Σ_s max over k of ⟨w_j, v^s_k⟩

The run has its mean, the share of 0.7 or more, and the mean in both directions: of our latents
among theirs, and of theirs among ours. Several latents may have the same nearest one. So the run
also has the mean cosine when latents are matched one to one: by the matching with the largest sum
(Kuhn 1955, The Hungarian method) up to `EXACT` latents, and greedily above.

Chance is what two dictionaries of random directions reach. If they were trained, what two
dictionaries of shuffled activations reach stands beside it: they have the distributions of the data
in each dimension, and nothing that belongs together.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from saev.analyze.neighbours import Nearest, cosines, nearest, random_rows
from saev.core.errors import UserError
from saev.evaluate.redundancy import RANDOM
from saev.evaluate.results import Figure, Measured, Results, mean_of
from saev.sae import Sae

EXACT = 8192
"""Largest number of latents to match exactly. Their cosines fill 0.8 GiB while they are matched."""
CANDIDATES = 16
"""Nearest latents among which the greedy matching looks for a partner."""
SHUFFLED = "shuffled_activations"
STABLE = 0.7
"""From this cosine on, a latent counts as found again."""


class Compared(NamedTuple):
    """Two dictionaries, each seen from the other."""

    ours: np.ndarray
    """(n,) float64, for each latent the largest cosine to the other dictionary."""
    theirs: np.ndarray
    """(n,) float64, for each latent of the other one."""
    matched: np.ndarray
    """(n,) float64, for each latent the cosine to the one that it is matched with; NaN if the
    greedy matching leaves it without a partner."""


def compare(ours: Tensor, theirs: Tensor, exact: int = EXACT) -> Compared:
    """Compare two decoders, (n, d) each.

    Args:
        exact: largest number of latents to match exactly.
    """
    forth, back = (
        nearest(a, b, CANDIDATES, other=True) for a, b in ((ours, theirs), (theirs, ours))
    )
    matched = match_exactly(ours, theirs) if len(ours) <= exact else match_greedily(forth)
    first, second = (found.cosine[:, 0].astype(np.float64) for found in (forth, back))
    return Compared(first, second, matched)


def match_exactly(ours: Tensor, theirs: Tensor) -> np.ndarray:
    """Cosines of the one-to-one matching with the largest sum: (n,) float64."""
    from scipy.optimize import linear_sum_assignment

    found = cosines(ours, theirs)
    matched: np.ndarray = found[linear_sum_assignment(found, maximize=True)].astype(np.float64)
    return matched


def match_greedily(candidates: Nearest) -> np.ndarray:
    """Cosines of a one-to-one matching that takes the largest first: (n,) float64.

    Args:
        candidates: of each of our n latents, among as many of theirs.
    """
    n, k = candidates.cosine.shape
    cosine, latent = candidates.cosine.reshape(-1), candidates.latent.reshape(-1)
    taken, found = np.zeros(n, bool), np.full(n, np.nan)
    for place in np.argsort(-cosine, kind="stable").tolist():
        mine, their = place // k, latent[place]
        if np.isnan(found[mine]) and not taken[their]:
            found[mine], taken[their] = cosine[place], True
    return found


def require_comparable(sae: Sae, other: Sae, name: str) -> None:
    """Refuse a dictionary that isn't this one under another seed.

    Args:
        sae, other: the dictionaries; name: of the other one.

    Raises:
        UserError: it was trained on other data, or has another shape.
    """
    pairs = (
        ("stream", sae.stream, other.stream),
        ("width", sae.d, other.d),
        ("number of latents", sae.n_latents, other.n_latents),
        ("architecture", sae.architecture, other.architecture),
        ("seed of the order", sae.settings.seed, other.settings.seed),
        ("recording", sae.metadata.get("inputs"), other.metadata.get("inputs")),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            raise UserError(
                f"stability: {name} has another {what} than the dictionary ({theirs}, not {ours}), "
                f"so the two can't be compared: only init_seed may differ"
            )


def measure(sae: Sae, others: Sequence[Sae], seed: int, shuffled: Sequence[Sae] = ()) -> Results:
    """The figures and the column.

    Args:
        sae: the dictionary; others: the same with other seeds, one at least.
        seed: of the intervals and the random directions.
        shuffled: two dictionaries of shuffled activations, or none.
    """
    decoder = sae.dictionary().detach()
    n, d = decoder.shape
    found = [compare(decoder, other.dictionary().detach()) for other in others]
    one, two = (random_rows(n, d, seed, draw).to(decoder.device) for draw in (1, 2))
    chance = {RANDOM: compare(one, two)}
    if shuffled:
        first, second = (other.dictionary().detach() for other in shuffled)
        chance[SHUFFLED] = compare(first, second)
    column = np.mean([one.ours for one in found], axis=0)
    matched = np.stack([one.matched for one in found])
    seeds = f"{len(others)} other seed{'s' * (len(others) > 1)}"
    way = "matched exactly" if n <= EXACT else f"matched greedily, as there are over {EXACT:,}"
    n_alone = int(np.isnan(matched).sum())
    alone = f"; {n_alone:,} without a partner are left out" if n_alone else ""

    def figure(
        name: str, measured: Measured, of: Callable[[Compared], Measured], note: str = seeds
    ) -> Figure:
        beside = {kind: of(compared) for kind, compared in chance.items()}
        return Figure("stability", name, measured, n, "latents", beside, note=note)

    def share(values: np.ndarray) -> Measured:
        return mean_of((values >= STABLE).astype(np.float64), seed)

    def both_ways(compared: Sequence[Compared]) -> Measured:
        each = [one.ours.mean() + one.theirs.mean() for one in compared]
        return Measured(float(np.mean(each)) / 2)

    return Results(
        [
            figure("mean", mean_of(column, seed), lambda one: mean_of(one.ours, seed)),
            figure("share_70", share(column), lambda one: share(one.ours)),
            figure("both_ways", both_ways(found), lambda one: both_ways([one])),
            figure(
                "matched",
                mean_of(_mean_of_known(matched), seed),
                lambda one: mean_of(one.matched, seed),
                f"{seeds}; {way}{alone}",
            ),
        ],
        {"stability": column},
    )


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Means of the columns of (s, n) over what isn't NaN: (n,); NaN where nothing is known."""
    n_known = (~np.isnan(values)).sum(0)
    total = np.nansum(values, axis=0)
    return np.divide(total, n_known, out=np.full(len(total), np.nan), where=n_known > 0)
