"""What pages call the figures of a run's evaluation, and what they say of each.

To name a new figure, add a row here. One without a row is called by its own name.
"""

_ROW = "largest cosine of a latent's decoder row to"
_SEED = f"{_ROW} a row of the same dictionary with another init_seed"


def _probing(k: int) -> dict[str, tuple[str, str]]:
    many = f"{k} latent{'s' * (k > 1)}"
    chosen = f"{many}, chosen on training images, tell{'s' * (k == 1)} a class from the rest"
    return {
        f"probing.auroc_{k}": (
            f"Sparse probing, {many}, area",
            f"area under the ROC curve with which {chosen}, mean over classes: 0.5 is chance, 1 is "
            "perfect",
        ),
        f"probing.accuracy_{k}": (
            f"Sparse probing, {many}, accuracy",
            f"how often {chosen}, mean over classes: compare it with the constant answer",
        ),
    }


TITLES: dict[str, tuple[str, str]] = {
    "gamma.recorded": (
        "γ",
        "length of the mean vector over that of the standard deviations: above 1, most of a "
        "vector is the same in all images",
    ),
    "redundancy.mean": ("Redundancy", f"{_ROW} another row, mean over latents that fire"),
    "redundancy.share_90": (
        "Redundancy ≥ 0.9",
        f"of the latents that fire, the share with 0.9 or more: {_ROW} another row",
    ),
    "stability.mean": ("Stability", f"{_SEED}, mean over latents: 1 is found again"),
    "stability.share_70": ("Stability ≥ 0.7", f"share of latents with 0.7 or more: {_SEED}"),
    "stability.both_ways": (
        "Stability, both ways",
        "mean of the stability of our latents among theirs and of theirs among ours",
    ),
    "stability.matched": (
        "Stability, one to one",
        "mean cosine when each latent is matched with one of its own in the other dictionary",
    ),
    **_probing(1),
    **_probing(2),
    **_probing(5),
    "downstream.accuracy": (
        "Downstream accuracy",
        "how often a linear probe on the tower's output is right when the tower sees "
        "reconstructions",
    ),
    "downstream.cross_entropy": (
        "Downstream cross entropy",
        "cross entropy of that probe, in nats: lower is better",
    ),
    "downstream.loss_recovered": (
        "Loss recovered",
        "part of the probe's loss between zeros and the original that reconstructions save: 1 is "
        "perfect, 0 is no better than zeros",
    ),
    "zero_shot.accuracy": (
        "Zero-shot accuracy",
        "how often the nearest class name is right when the tower sees reconstructions",
    ),
    "zero_shot.cross_entropy": (
        "Zero-shot cross entropy",
        "cross entropy of the names, with the model's own scale of cosines, in nats: lower is "
        "better",
    ),
    "zero_shot.loss_recovered": (
        "Zero-shot loss recovered",
        "part of the names' loss between zeros and the original that reconstructions save: 1 is "
        "perfect, 0 is no better than zeros",
    ),
    "ablation.logit_fall": (
        "Ablation, fall of the logit",
        "how much the probe's logit of a class falls when the latent that tells it best is taken "
        "out",
    ),
    "absorption.rate": (
        "Absorption",
        "share of a wider class's images on which its own latents are silent and a latent of the "
        "narrower class speaks for them, mean over wider classes: 0 is best",
    ),
    "absorption.silent": (
        "Silence of a wider class's latents",
        "share of a wider class's images on which none of its own latents fires although a linear "
        "probe tells the class, mean over wider classes: 0 is best",
    ),
    "monosemanticity.mean": (
        "Monosemanticity",
        "mean cosine of the embeddings of the images on which a latent fires, weighted by "
        "activation, mean over latents",
    ),
    "spatial.mean": (
        "Moran's I",
        "how connected the map of a latent is on the grid of patches, mean over latents: 1 is one "
        "region, about 0 is at random",
    ),
    "masks.map": (
        "Mask AP",
        "average precision with which one latent, chosen on training images, finds a class of the "
        "masks, mean over classes: 1 is perfect",
    ),
    "masks.best_iou": (
        "Mask IoU",
        "overlap of a class of the masks with where one latent is above a threshold, both chosen "
        "on training images, mean over classes: 1 is perfect",
    ),
    "masks.coverage_30": (
        "Mask AP ≥ 0.3",
        "share of the masks' classes that one latent finds with an average precision of 0.3 or "
        "more",
    ),
    "masks.probe_r": (
        "Mask probe R",
        "share of the cross entropy of a constant answer that a logistic regression on one latent "
        "saves, mean over the masks' classes: 1 is perfect, 0 knows nothing",
    ),
    "masks.purity_16": (
        "Mask purity",
        "share of the most common class of the masks among a latent's 16 top patches, one of each "
        "image, mean over latents",
    ),
    "vocabulary.share": (
        "Words suggested",
        "share of latents that get a word of the vocabulary; of shuffled latents, 1 % get one",
    ),
    "coactivation.mean_largest_pmi": (
        "Co-activation",
        "largest pointwise mutual information of a latent with another one, in nats, mean over "
        "latents: 0 is independent",
    ),
}
"""Title and meaning, by metric and name."""
BASELINES = {"pca": "PCA", "k_means": "k-means", "semi_nmf": "semi-NMF"}
"""Titles of baselines whose names aren't plain words."""
CEILINGS = {"original", "with_error"}
"""What stands beside a figure as its best value, and not as something trivial."""
LESS_IS_BETTER = {
    "downstream.cross_entropy",
    "zero_shot.cross_entropy",
    "absorption.rate",
    "absorption.silent",
}
NO_CONTEST = {"gamma", "redundancy", "coactivation"}
"""Metrics whose figures describe: neither more nor less of them is better."""


def beats(key: str, value: float | None, other: float | None) -> bool | None:
    """Whether the figure ``key`` is better than that of a baseline; None where that can't be said.

    Args:
        key: metric and name, such as ``stability.mean``; one without a row above is no contest.
        value, other: the figures; None where they aren't defined.
    """
    known = key in TITLES and key.partition(".")[0] not in NO_CONTEST
    if value is None or other is None or not known:
        return None
    return value < other if key in LESS_IS_BETTER else value > other


def titled(metric: str, name: str, of: str) -> tuple[str, str]:
    """Title and meaning of a figure; ``of`` is the label that it is about, if any."""
    words = f"{metric}, {name}".replace("_", " ")
    title, meaning = TITLES.get(f"{metric}.{name}", (words, ""))
    return (f"{title}: {of}" if of else title), meaning
