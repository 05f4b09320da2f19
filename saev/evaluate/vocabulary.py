"""Suggests a word of a vocabulary for a latent, by its strongest images and the text tower.

With unit embeddings e_i of what lies around the strongest patch of a latent's four strongest images
(of the whole images, for class tokens), and t_w of the words, each less its mean (ē over these
images of all latents, t̄ over all words), a word's similarity and the latent's suggestion are::

    s(w) = 1/4 Σ_i cos(e_i − ē, t_w − t̄)        suggestion = argmax_w s(w)

It is made only where its margin, max_w s(w) − q, is above 0. q is what 1 % of shuffled latents
exceed with their own best word: a shuffled latent has four of the same crops, drawn from all
latents. So the margin beats chance over all words at once, however many there are. A word's synonym
doesn't count against it, as it would if the margin were to the second word.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saev.evaluate.crops import centred
from saev.evaluate.results import Figure, Results, mean_of, missing
from saev.settings.evaluation import WORD_IMAGES

TOP = WORD_IMAGES
"""Strongest images of a latent that count. A latent with fewer gets no suggestion."""
LEVEL = 0.01
"""Share of shuffled latents that would get a suggestion."""
SHUFFLES = 10
AT_ONCE = 1024
"""Latents that are compared with all words at once. Constant; it bounds memory."""
METRIC = "vocabulary"


def best_words(
    crops: Float[Tensor, "l k e"], words: Float[Tensor, "w e"]
) -> tuple[np.ndarray, np.ndarray]:
    """For each latent the word with the largest similarity, and that: (l,) int64 and (l,).

    Args:
        crops, words: centred unit vectors.
    """
    of_latents = crops.mean(1)
    best = [(of_latents[i : i + AT_ONCE] @ words.T).max(1) for i in range(0, len(crops), AT_ONCE)]
    values, numbers = (torch.cat([one[part] for one in best]).numpy() for part in (0, 1))
    return numbers, values


def shuffled(crops: Float[Tensor, "l k e"], rng: np.random.Generator) -> Tensor:
    """The same crops, dealt to the latents at random."""
    order = torch.from_numpy(rng.permutation(crops.shape[0] * crops.shape[1]))
    return crops.flatten(0, 1)[order].view_as(crops)


def asked(top_rows: np.ndarray) -> np.ndarray:
    """The latents with enough top images, of (n, k) rows with −1 for none: (l,) int64."""
    if top_rows.shape[1] < TOP:
        return np.empty(0, np.int64)
    found: np.ndarray = np.flatnonzero((top_rows[:, :TOP] >= 0).all(1))
    return found


def measure(
    latents: np.ndarray,
    n_latents: int,
    crops: Float[Tensor, "m e"],
    words: list[str],
    vectors: Float[Tensor, "w e"],
    seed: int,
) -> Results:
    """The suggestions, as columns; and for how many latents there is one.

    Args:
        latents: (l,) those that are asked about; n_latents: n.
        crops: unit vectors of `TOP` crops of each, m = l · TOP.
        vectors: unit vectors of the words.
        seed: of the shuffles.
    """
    margin = np.full(n_latents, np.nan)
    suggested = np.full(n_latents, None, object)
    if len(latents) < 2:
        note = f"fewer than two latents fire on {TOP} images or more"
        return Results(
            [missing(METRIC, "share", "latents", note)],
            {"suggested": suggested, "suggested_margin": margin},
        )
    dealt = centred(crops).view(len(latents), TOP, -1)
    texts = centred(vectors).to(dealt.dtype)
    numbers, values = best_words(dealt, texts)
    rng = np.random.default_rng([seed, len(latents)])
    null = np.concatenate([best_words(shuffled(dealt, rng), texts)[1] for _ in range(SHUFFLES)])
    least = np.quantile(null, 1 - LEVEL)
    again = best_words(shuffled(dealt, rng), texts)[1]
    margin[latents] = values.astype(np.float64) - least
    above = margin[latents] > 0
    suggested[latents[above]] = [words[i] for i in numbers[above]]
    left_out = n_latents - len(latents)
    figure = Figure(
        METRIC,
        "share",
        mean_of(above.astype(np.float64), seed),
        len(latents),
        "latents",
        {"shuffled_latents": mean_of((again > least).astype(np.float64), seed)},
        note=f"latents with fewer than {TOP} images: {left_out:,}, not counted" if left_out else "",
    )
    return Results([figure], {"suggested": suggested, "suggested_margin": margin})
