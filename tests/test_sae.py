"""Dictionaries: equations, nonlinearities, the checkpoint."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from dictionaries import SETTINGS, D, N, build, dense_topk, make, vectors
from safetensors import safe_open

from saev import sae as saes
from saev.core.errors import UserError
from saev.sae.batchtopk import least_positive
from saev.sae.selecting import Selecting


@pytest.fixture(params=list(SETTINGS))
def architecture(request):
    return request.param


def by_the_equation(sae, x):
    """Latents and reconstruction of the docstring's equation, in float64, with a loop for the top
    k."""
    w = {k: v.detach().double().numpy() for k, v in sae.state_dict().items()}
    u = (x.double().numpy() - w["norm_mean"]) / w["norm_scale"]
    pre = (u - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    z = np.maximum(pre, 0)
    if "threshold" in w:
        z[z <= w["threshold"]] = 0
    elif "log_threshold" in w:
        z[z <= np.exp(w["log_threshold"])] = 0
    elif isinstance(sae, Selecting):
        for row in z:
            row[np.argsort(-row)[sae.settings.k :]] = 0
    return z, (z @ w["W_dec"] + w["b_dec"]) * w["norm_scale"] + w["norm_mean"]


def test_encode_and_decode_follow_the_equation(architecture):
    sae, x = make(architecture), vectors()
    z, xh = by_the_equation(sae, x)
    np.testing.assert_allclose(sae.encode(x).detach(), z, atol=1e-5)
    np.testing.assert_allclose(sae(x).detach(), xh, atol=1e-5)


def test_the_triples_are_the_nonzero_latents_in_order(architecture):
    sae, x = make(architecture), vectors()
    z = sae.encode(x)
    vector, latent = z.nonzero(as_tuple=True)
    active = sae.active(x)
    assert torch.equal(active.vector, vector)
    assert torch.equal(active.latent, latent)
    assert torch.equal(active.value, z[vector, latent])


def test_decoding_triples_equals_decoding_dense_latents_also_where_nothing_fires(architecture):
    sae, x = make(architecture), vectors()
    with torch.no_grad():
        sae.b_enc -= 3  # so that some vectors have no latent at all
    active = sae.active(x)
    assert len(active.vector.unique()) < len(x)
    decoded = sae.denormalise(sae.decode_active_normalised(*active, len(x)))
    torch.testing.assert_close(decoded, sae(x), atol=1e-5, rtol=1e-5)
    nothing = sae.active(x[:0])
    assert sae.decode_active_normalised(*nothing, 3).shape == (3, D)


def test_a_row_has_the_same_bits_in_a_batch_of_any_size(architecture):
    sae, x = make(architecture, d=64), vectors(64, 64)
    whole = sae.encode(x)
    for size in (1, 3, 8, 17):
        assert torch.equal(sae.encode(x[:size]), whole[:size])


def test_the_decoder_has_unit_rows_and_the_gradient_nothing_along_them(architecture):
    sae = make(architecture)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(N))
    sae.loss(sae.normalise(vectors()), 0, None).terms.loss.backward()
    sae.remove_parallel_gradient()
    if not isinstance(sae.W_dec, torch.nn.Parameter):
        return  # its rows are made with norm 1
    along = (sae.W_dec.grad * sae.W_dec).sum(1)
    assert along.abs().max() < 1e-6
    assert sae.W_dec.grad.abs().max() > 1e-4


@pytest.mark.parametrize("n", [64, 512, 4096])
def test_the_first_reconstruction_is_neither_lost_nor_longer_than_the_input(architecture, n):
    wide = {
        "n_latents": n,
        "k": 16,
        "widths": [n // 2, n],
        "n_points": n,
        "initial_threshold": 0.01,
    }
    sae = build(architecture, 64, **wide)
    u = torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
    ratio = float((u - sae.loss(u, 0, None).residual).norm() / u.norm())
    shortened = 5 if isinstance(sae, Selecting) else 1
    assert 0.3 < ratio * shortened < 1.5
    # An encoder that is scaled by another width is off by a factor of 8 here.
    spread = sae.preactivations(u).detach().std() / sae.initial_encoder_scale()
    assert 0.9 < spread < 1.1


@pytest.mark.parametrize("name", ["matryoshka", "matryoshka-topk"])
def test_a_prefix_is_a_dictionary_of_its_own(name):
    sae, x = make(name).eval(), vectors()
    prefix = sae.prefix(25)
    pre = sae.preactivations(x)[:, :25]
    expected = (
        torch.where(pre > sae.threshold, pre, 0) if name == "matryoshka" else dense_topk(pre, 5)
    )
    torch.testing.assert_close(prefix.encode(x), expected)
    torch.testing.assert_close(prefix(x), sae.denormalise(expected @ sae.W_dec[:25] + sae.b_dec))
    with pytest.raises(ValueError, match=r"one of \[10, 25, 40\]"):
        sae.prefix(11)


def test_the_threshold_follows_the_smallest_activation_that_a_batch_keeps():
    sae, u = make("batchtopk"), vectors(50)
    sae.b_enc.data += 3
    least = []
    for step in range(3):
        pre = sae.preactivations(sae.denormalise(u + step)).detach()
        least.append(float(pre.flatten().topk(5 * 50).values[-1]))
        sae.loss(u + step, step, None)
    # Of the mean so far, 1/31 and then 2/32 are kept; after 2,970 steps, 0.99.
    second = least[1] + (least[0] - least[1]) / 31
    expected = least[2] + (second - least[2]) * 2 / 32
    assert float(sae.threshold) == pytest.approx(expected, rel=1e-5)


def test_too_few_positive_activations_in_a_batch_lower_the_threshold_to_their_smallest():
    sae, u = make("batchtopk", aux_k=0, aux_coefficient=0.0), vectors(8)
    sae.b_enc.data -= 3
    pre = sae.preactivations(sae.denormalise(u)).detach()
    positive = pre[pre > 0]
    assert 0 < len(positive) < 5 * 8
    sae.loss(u, 0, None)
    torch.testing.assert_close(sae.threshold, positive.min())
    sae.b_enc.data -= 100  # nothing is
    sae.loss(u, 1, None)
    torch.testing.assert_close(sae.threshold, positive.min())


def test_no_room_behind_the_last_code_counts_as_the_smallest_activation():
    assert least_positive(torch.tensor([0.0, 3.0, 2.0, 0.0])) == 2
    assert least_positive(torch.zeros(3)) == least_positive(torch.zeros(0)) == torch.inf


def test_the_threshold_stands_still_in_evaluation_and_latents_then_do_not_depend_on_the_batch():
    sae, u = make("batchtopk").eval(), vectors(50)
    before = float(sae.threshold)
    whole = sae.loss(u, 9, None).n_active
    assert float(sae.threshold) == before
    assert torch.equal(sae.loss(u[:9], 9, None).n_active, whole[:9])


def test_rows_of_an_archetypal_dictionary_are_mixtures_of_its_points():
    sae = make("archetypal", relaxation=0.0)
    weights = (10 * sae.mixture.detach()).softmax(dim=1)
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(N))
    rows = weights @ sae.points
    torch.testing.assert_close(sae.W_dec, rows / rows.norm(dim=1, keepdim=True))
    relaxed = make("archetypal")
    with torch.no_grad():
        relaxed.offset.mul_(100)
    relaxed.finish_step()
    assert float(relaxed.offset.detach().norm(dim=1).max()) == pytest.approx(0.5)


def test_fired_and_counts_say_what_encode_says(architecture):
    sae, x = make(architecture).eval(), vectors(9)
    forward = sae.loss(sae.normalise(x), 0, None)
    z = sae.encode(x)
    assert torch.equal(forward.fired, (z > 0).any(0))
    assert torch.equal(forward.n_active, (z > 0).sum(1))


def store(sae, path):
    saes.save(sae, path, inputs={"activations": "0" * 64}, stream="layer-11.cls")
    return path


def test_saving_loading_and_running_gives_the_same_bits_in_evaluation_mode(architecture, tmp_path):
    sae, x = make(architecture, d=48), vectors(32, 48)
    loaded = saes.load(store(sae, tmp_path / "checkpoint.safetensors"))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(loaded(x), sae(x))
    assert torch.equal(loaded.encode(x), sae.encode(x))
    assert loaded.stream == "layer-11.cls"
    assert loaded.metadata["settings"]["n_latents"] == N
    again = store(loaded, tmp_path / "again.safetensors")
    assert again.read_bytes() == (tmp_path / "checkpoint.safetensors").read_bytes()


def test_the_checkpoint_can_be_used_without_this_package(architecture, tmp_path):
    sae, x = make(architecture), vectors()
    path = store(sae, tmp_path / "checkpoint.safetensors")
    with safe_open(path, "np") as file:
        assert list(file.metadata()) == ["saev"]
        metadata = json.loads(file.metadata()["saev"])
        w = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert metadata["format_version"] == 1
    assert "W_enc^T (u - b_dec) + b_enc" in metadata["equation"]
    assert (w["W_enc"].shape, w["W_dec"].shape) == ((D, N), (N, D))
    u = (x.numpy() - w["norm_mean"]) / w["norm_scale"]
    z = np.maximum((u - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 0)
    if "threshold" in w:
        z[z <= w["threshold"]] = 0
    elif "log_threshold" in w:
        z[z <= np.exp(w["log_threshold"])] = 0
    elif "topk" in metadata["equation"]:
        z[z < np.sort(z, axis=1)[:, [-metadata["settings"]["k"]]]] = 0
    np.testing.assert_allclose(sae.encode(x).detach(), z, atol=1e-5)


def test_a_missing_or_cut_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(UserError, match="missing"):
        saes.load(path)
    data = store(make("topk"), path).read_bytes()
    path.write_bytes(data[:-9])
    with pytest.raises(UserError, match="isn't a checkpoint of saev"):
        saes.load(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="isn't a checkpoint of saev"):
        saes.load(path)


def rewrite(path, tensors=None, **changes):
    """The checkpoint with another metadata."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["saev"])
    tensors = tensors or safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, {"saev": json.dumps(metadata | changes)})


def test_a_newer_format_an_unknown_architecture_and_wrong_shapes_are_refused(tmp_path):
    path = store(make("topk"), tmp_path / "checkpoint.safetensors")
    rewrite(path, format_version=2)
    with pytest.raises(UserError, match="newer saev"):
        saes.load(path)
    rewrite(path, format_version=1, architecture="gated")
    with pytest.raises(
        UserError,
        match="'gated'; this saev knows: topk, batchtopk, matryoshka, archetypal, jumprelu, relu",
    ):
        saes.load(path)
    rewrite(path, architecture="topk", d=D + 1)
    with pytest.raises(UserError, match="doesn't hold the tensors"):
        saes.load(path)


def test_settings_that_an_older_checkpoint_lacks_are_neutral_and_unknown_ones_are_refused(tmp_path):
    path = store(make("jumprelu"), tmp_path / "checkpoint.safetensors")
    older = {k: v for k, v in SETTINGS["jumprelu"].items() if k not in ("aux_k", "aux_coefficient")}
    rewrite(path, settings=older)
    loaded = saes.load(path)
    assert (loaded.settings.aux_k, loaded.settings.threshold_rate) == (0, 1.0)
    assert loaded.settings.bandwidth == 2.0
    rewrite(path, settings=older | {"newer": 1})
    with pytest.raises(UserError, match=r"the settings in .*checkpoint.* are wrong:\n.*newer"):
        saes.load(path)


def test_settings_say_in_short_what_tells_dictionaries_apart():
    short = {name: build(name).settings.in_short() for name in SETTINGS}
    assert short["topk"] == short["batchtopk"] == short["matryoshka"] == {"k": 5}
    assert short["relu"] == {"l1": 0.1}
    assert short["jumprelu"] == {"sparsity": 0.1}  # l0_target isn't set


def test_k_above_the_number_of_latents_is_refused():
    with pytest.raises(UserError, match="k: 41 is larger than n_latents: 40"):
        make("topk", k=N + 1)
