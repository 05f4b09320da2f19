"""What latents are compared with on masks: k-means, semi-NMF, and probes of one latent."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.cluster import KMeans

from saev import sae as saes
from saev.analyze.baseline import Pca
from saev.core.spec import parsed
from saev.evaluate import kmeans, mask_baselines, mask_probes, semi_nmf
from saev.evaluate.mask_baselines import others
from saev.evaluate.mask_scores import Counted, bin_of
from saev.settings.sae import AnySaeSettings

CPU = torch.device("cpu")


def test_centres_move_to_the_means_of_their_vectors():
    points = torch.tensor([[0.0], [1.0], [10.0], [12.0], [13.0]])
    for seed in range(5):
        assert sorted(kmeans.fit(points, 2, seed, CPU).flatten().tolist()) in (
            [0.5, pytest.approx(35 / 3)],
        )
    assert kmeans.n_centres(2048, 5000) == 1250
    assert kmeans.n_centres(2048, 50_000) == 2048


def clusters(m=1500, d=12, k=9):
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((k, d))
    return torch.from_numpy(centres[rng.integers(0, k, m)] + rng.standard_normal((m, d))).float()


def test_k_means_is_scikit_learns_from_the_same_start():
    x, n = clusters(), 20
    found = kmeans.fit(x, n, 7, CPU)
    drawn = np.sort(np.random.default_rng([7, n]).choice(len(x), n, replace=False, shuffle=False))
    theirs = KMeans(n, init=x.numpy()[drawn], n_init=1, max_iter=kmeans.PASSES, tol=0).fit(x)
    assert found.numpy() == pytest.approx(theirs.cluster_centers_, abs=1e-4)


def test_threads_change_no_byte_of_the_baselines():
    x, made = clusters(), []
    threads = torch.get_num_threads()
    for n in (1, 2):
        torch.set_num_threads(n)
        made.append((kmeans.fit(x, 20, 0, CPU), semi_nmf.fit(x, 12, 0, CPU)))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def dictionary(d=12, n=40):
    given = {"architecture": "topk", "layer": 1, "tokens": "patches", "n_latents": n, "k": 3}
    given |= {"batch_size": 8, "epochs": 1.0, "lr": 1e-3}
    sae = saes.build(parsed(AnySaeSettings, given), d)
    sae.norm_mean.copy_(torch.linspace(-1, 1, d))
    sae.norm_scale.copy_(torch.linspace(0.5, 2, d))
    return sae


def test_codes_are_those_of_the_nonnegative_least_squares():
    rng = np.random.default_rng(1)
    directions, x = rng.standard_normal((10, 12)), rng.standard_normal((30, 12))
    gram = torch.from_numpy(directions @ directions.T)
    found = semi_nmf.codes(torch.from_numpy(x @ directions.T), gram, semi_nmf.steepest(gram))
    assert (found >= 0).all()
    for ours, vector in zip(found.numpy(), x, strict=True):
        best, residual = nnls(directions.T, vector)
        assert np.linalg.norm(vector - ours @ directions) <= residual * 1.02
        assert ours == pytest.approx(best, abs=0.1)


def loss(x, directions):
    gram = directions @ directions.T
    z = semi_nmf.codes(x @ directions.T, gram, semi_nmf.steepest(gram))
    return float((x - z @ directions).square().sum())


def test_each_pass_of_the_factorisation_comes_nearer():
    rng = np.random.default_rng(2)
    planted = rng.standard_normal((6, 12))
    z = np.maximum(rng.standard_normal((2000, 6)), 0)
    x = torch.from_numpy(z @ planted).float()
    directions, losses = kmeans.fit(x, 6, 0, CPU), []
    for _ in range(semi_nmf.PASSES):
        losses.append(loss(x, directions))
        directions = semi_nmf.improved(x, directions, CPU)
    assert (np.diff(losses) < 0).all()
    assert loss(x, semi_nmf.fit(x, 6, 0, CPU)) < 0.05 * float(x.square().sum())


def test_baselines_read_the_same_vectors_and_are_equally_sparse():
    sae, u = dictionary(), clusters()
    mean = u.double().mean(0)
    axes = torch.linalg.eigh(torch.from_numpy(np.cov(u.numpy().T))).eigenvectors.flip(1)
    found = others(sae, Pca(mean, axes, len(u)), u, 3.2, 0)
    assert set(found.saes) == {"untrained_dictionary", "pca", "k_means", "semi_nmf"}
    assert found.note == "semi-NMF has 12 directions, not 40: more than the width says nothing"
    raw = sae.denormalise(u[:100])
    for other in found.saes.values():
        vector = other.active(raw).vector
        assert torch.bincount(vector, minlength=100).max() == 3
    # The nearest centre has the largest value, which is half of what it saves.
    centres = kmeans.fit(u, 40, 0, CPU)
    distance = torch.cdist(u[:100].double(), centres.double()).square()
    z = found.saes["k_means"].encode(raw)
    assert (z.argmax(1) == distance.argmin(1)).all()
    saved = ((u[:100] - mean).square().sum(1) - distance.min(1).values) / 2
    assert z.max(1).values.detach().numpy() == pytest.approx(saved.numpy(), rel=1e-3)
    # The codes of the factorisation are those of the vectors around their mean.
    directions = semi_nmf.fit((u - mean).float(), 12, 0, CPU)
    gram = directions @ directions.T
    codes = semi_nmf.codes((u[:100] - mean).float() @ directions.T, gram, semi_nmf.steepest(gram))
    ours = found.saes["semi_nmf"].encode(raw)
    assert ours.max(1).values.detach() == pytest.approx(codes.max(1).values, rel=1e-3)


def test_few_vectors_make_few_centres_and_it_is_said():
    sae, u = dictionary(), clusters(m=100)
    mean, axes = u.double().mean(0), torch.eye(12).double()
    found = others(sae, Pca(mean, axes, len(u)), u, 3, 0)
    assert found.saes["k_means"].n_latents == 25
    assert "k-means has 25 centres, not 40: 4 vectors belong to each" in found.note
    assert mask_baselines.MOST_CENTRES == 16_384


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_r_is_the_share_of_the_cross_entropy_that_a_probe_saves():
    # A latent is on for 400,000 of a million patches. 300,000 of these have the class, and 100,000
    # of the others. The best probe says 3/4 and 1/6.
    bins = bin_of(np.full(2, 2, np.float32))
    counted = Counted(np.array([0, 1]), bins, np.array([400_000, 300_000]))
    sizes = np.array([1_000_000, 400_000])
    found = mask_probes.judge(counted, counted, np.stack([sizes, sizes]), np.array([1]))
    r = 1 - (0.4 * entropy(3 / 4) + 0.6 * entropy(1 / 6)) / entropy(0.4)
    assert found.training == pytest.approx([r], abs=1e-6)
    assert found.held_out == pytest.approx([r], abs=1e-6)
    # On patches where the latent is always off, the probe says 1/6, and the constant 2/5.
    empty = Counted(*(np.zeros(0, np.int64),) * 3)
    sizes = np.stack([sizes, [1000, 400]])
    judged = mask_probes.judge(counted, empty, sizes, np.array([1])).held_out
    off = -0.4 * math.log(1 / 6) - 0.6 * math.log(5 / 6)
    assert judged == pytest.approx([1 - off / entropy(0.4)], abs=1e-5)


def test_a_class_that_covers_everything_has_an_r_of_0():
    counted = Counted(np.array([0, 1]), bin_of(np.full(2, 2, np.float32)), np.array([5, 5]))
    sizes = np.array([[9, 9], [9, 9]])
    found = mask_probes.judge(counted, counted, sizes, np.array([1]))
    assert found.training.tolist() == found.held_out.tolist() == [0]
