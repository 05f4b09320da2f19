"""Dictionaries: equations, gradients, the checkpoint."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from saev import sae as saes
from saev.errors import UserError
from saev.sae import codes as sparse_codes
from saev.sae import kernels
from saev.sae.base import unit_rows
from saev.sae.codes import Codes, attach, reconstruct
from saev.sae.selecting import Selecting

D, N = 12, 40
SETTINGS = {
    "topk": {"architecture": "topk", "n_latents": N, "k": 5, "aux_k": 6, "aux_coefficient": 0.5},
    "relu": {"architecture": "relu", "n_latents": N, "l1": 0.1, "l1_warmup_steps": 10},
}
AUX = {"aux_k": 6, "aux_coefficient": 0.5}
SETTINGS |= {
    "batchtopk": {**SETTINGS["topk"], "architecture": "batchtopk"},
    "matryoshka": {**SETTINGS["topk"], "architecture": "matryoshka", "widths": [10, 25, N]},
    "matryoshka-topk": {
        **SETTINGS["topk"],
        "architecture": "matryoshka",
        "widths": [10, 25, N],
        "over": "topk",
    },
    "archetypal": {
        **SETTINGS["topk"],
        "architecture": "archetypal",
        "n_points": 30,
        "relaxation": 0.5,
    },
    "jumprelu": {
        "architecture": "jumprelu",
        "n_latents": N,
        "sparsity": 0.1,
        "sparsity_warmup_steps": 10,
        "bandwidth": 2.0,
        "initial_threshold": 0.5,
        **AUX,
    },
    "relu-aux": {**SETTINGS["relu"], **AUX},
}
SELECTING = [name for name in SETTINGS if "relu" not in name]


def make(architecture, d=D, **changes):
    """A dictionary with no parameter at its initial value."""
    generator = torch.Generator().manual_seed(3)
    sae = saes.build({**SETTINGS[architecture], **changes}, d, generator)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        sae.norm_mean.normal_(generator=generator)
        sae.norm_scale.uniform_(0.5, 2, generator=generator)
        if "threshold" in dict(sae.named_buffers()):
            sae.threshold.fill_(0.7)
        if isinstance(sae.W_dec, torch.nn.Parameter):
            sae.W_dec.copy_(unit_rows(sae.W_dec))
    sae.finish_step()
    return sae


def vectors(b=32, d=D, seed=5):
    return torch.randn(b, d, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.fixture(params=list(SETTINGS))
def architecture(request):
    return request.param


def by_the_equation(sae, x):
    """Latents and reconstruction of the docstring's equation, in float64, with a loop for the top k."""
    w = {k: v.detach().double().numpy() for k, v in sae.state_dict().items()}
    u = (x.double().numpy() - w["norm_mean"]) / w["norm_scale"]
    pre = (u - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    z = np.maximum(pre, 0)
    if "threshold" in w:
        z[z <= w["threshold"]] = 0
    elif "log_threshold" in w:
        z[z <= np.exp(w["log_threshold"])] = 0
    elif hasattr(sae, "k"):
        for row in z:
            row[np.argsort(-row)[sae.k :]] = 0
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
    torch.testing.assert_close(sae.decode_active(*active, len(x)), sae(x), atol=1e-5, rtol=1e-5)
    nothing = sae.active(x[:0])
    assert sae.decode_active(*nothing, 3).shape == (3, D)


def test_chosen_latents_equal_the_whole(architecture):
    sae, x, chosen = make(architecture), vectors(), torch.tensor([7, 0, 39])
    assert torch.equal(sae.encode_latents(x, chosen), sae.encode(x)[:, chosen])


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
    sae = saes.build({**SETTINGS[architecture], **wide}, 64)
    u = torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
    ratio = float((u - sae.loss(u, 0, None).residual).norm() / u.norm())
    shortened = 5 if isinstance(sae, Selecting) else 1
    assert 0.3 < ratio * shortened < 1.5
    # An encoder that is scaled by another width is off by a factor of 8 here.
    spread = sae.preactivations(u).detach().std() / sae.initial_encoder_scale()
    assert 0.9 < spread < 1.1


# The losses, in the plain dense way.
def dense_topk(pre, k):
    values, latents = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, latents, values.relu())


def plain_aux(sae, pre, residual, dead, W_dec):
    late = torch.full_like(pre, -torch.inf)
    late[:, dead] = pre[:, dead]
    z = dense_topk(late, min(sae.aux_k, len(dead)))
    return sae.aux_coefficient * (residual.detach() - z @ W_dec).square().mean()


def plain_latents(sae, pre):
    """Latents in a training step."""
    if "batchtopk" in type(sae).__name__.lower():
        flat = pre.flatten()
        chosen = flat.topk(sae.k * len(pre)).indices
        return torch.zeros_like(flat).scatter(0, chosen, flat[chosen].relu()).view_as(pre)
    return dense_topk(pre, sae.k)


def plain_selecting(sae, u, dead):
    W_dec = sae.dictionary()
    pre = (u - sae.b_dec) @ sae.W_enc + sae.b_enc
    z = plain_latents(sae, pre)
    residual = u - z @ W_dec - sae.b_dec
    errors = []
    for width in getattr(sae, "widths", [N]):
        inner = z[:, :width]
        if getattr(sae, "widths", None) and "batch" not in type(sae).__name__.lower():
            inner = dense_topk(pre[:, :width], sae.k)
        errors.append((u - inner @ W_dec[:width] - sae.b_dec).square().mean())
    return torch.stack(errors).mean() + plain_aux(sae, pre, residual, dead, W_dec)


def plain_relu(sae, u, dead):
    pre = (u - sae.b_dec) @ sae.W_enc + sae.b_enc
    z = pre.relu()
    residual = u - z @ sae.W_dec - sae.b_dec
    # Step 4 of a warm-up of 10.
    loss = residual.square().mean() + sae.l1 * 0.4 * z.sum(dim=1).mean()
    lifted = torch.where(pre > 0, pre + 1, pre.exp())
    return loss + plain_aux(sae, lifted, residual, dead, sae.W_dec) if sae.aux_k else loss


def plain_jumprelu(sae, u, dead):
    """With the estimated gradients written as products with constants, equations 11 and 12."""
    pre = (u - sae.b_dec) @ sae.W_enc + sae.b_enc
    theta = sae.log_threshold.exp()
    on = (pre > theta).double()
    window = ((pre - theta).abs() < sae.bandwidth / 2).double().detach() / sae.bandwidth
    z = pre * on - (window * theta.detach()) * (theta - theta.detach())
    count = on - window * (theta - theta.detach())
    residual = u - z @ sae.W_dec - sae.b_dec
    loss = residual.square().mean() + sae.sparsity * 0.4 * count.sum(dim=1).mean()
    return loss + plain_aux(sae, pre, residual, dead, sae.W_dec)


def at_most(architecture, k):
    """``k``, or the first width of a nested dictionary, which can't have more active latents."""
    return min(k, 10) if architecture.startswith("matryoshka") else k


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("b", [1, 9, 64])
@pytest.mark.parametrize("k", [1, 5, 10, N])
def test_the_loss_and_its_gradients_equal_plain_autograd_in_float64(
    architecture, b, k, sparse, monkeypatch
):
    # How relu and jumprelu compute; the others are always sparse.
    monkeypatch.setattr(sparse_codes, "SPARSE_SHARE", float(sparse))
    sae = make(architecture, k=at_most(architecture, k)).double()
    u = vectors(b).double()
    u[0] = 0
    dead = torch.tensor([1, 4, 7, 8, 20, 21, 22, 39])
    plain = {"relu": plain_relu, "relu-aux": plain_relu, "jumprelu": plain_jumprelu}
    losses = (
        sae.loss(u, 4, dead).terms.loss,
        plain.get(architecture, plain_selecting)(sae, u, dead),
    )
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(loss, list(sae.parameters())) for loss in losses)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*SELECTING, "relu", "relu-aux"])
@pytest.mark.parametrize(("k", "d"), [(1, D), (10, D), (10, 7), (N, 13)])
def test_a_float32_step_equals_a_float64_step_to_rounding(name, k, d, monkeypatch):
    k = at_most(name, k)
    monkeypatch.setattr(sparse_codes, "SPARSE_SHARE", 1.0)
    sae, exact = make(name, d, k=k), make(name, d, k=k).double()
    dead = torch.arange(3)
    u = vectors(33, d)
    u[3] = 0
    found, expected = (s.loss(x, 1, dead).terms.loss for s, x in ((sae, u), (exact, u.double())))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(found, list(sae.parameters()))
    theirs = torch.autograd.grad(expected, list(exact.parameters()))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-3, atol=1e-4)


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
    expected = 0.99 * (0.99 * least[0] + 0.01 * least[1]) + 0.01 * least[2]
    assert float(sae.threshold) == pytest.approx(expected, rel=1e-5)


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


def test_the_auxiliary_loss_reaches_the_encoder_of_dead_latents_alone():
    sae, u = make("topk"), vectors()
    dead = torch.arange(8)
    with torch.no_grad():
        sae.b_enc[:8] -= 30
        sae.b_enc[0] += 30.1  # positive, but hardly ever among the first k
    forward = sae.loss(u, 0, dead)
    (with_aux,) = torch.autograd.grad(forward.terms.loss, sae.W_enc)
    sae.aux_coefficient = 0.0
    (without,) = torch.autograd.grad(sae.loss(u, 0, dead).terms.loss, sae.W_enc)
    changed = (with_aux != without).any(dim=0)
    assert changed[0]
    assert not changed[8:].any()


def test_the_sparse_parts_pass_gradcheck():
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    weights = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 9), (9,), (9, 5), (5,))
    ]

    def autoencode(encoder, bias, decoder, decoder_bias):
        pre = ((u - decoder_bias) @ encoder + bias).detach()
        codes = Codes(*kernels.of(pre).largest(pre, 3), 9)
        codes = attach(codes, u, encoder, bias, decoder_bias)
        return reconstruct(codes, u, decoder, decoder_bias)[0]

    assert torch.autograd.gradcheck(autoencode, weights)


def test_sums_by_latent_do_not_depend_on_threads():
    generator = torch.Generator().manual_seed(0)
    codes = Codes(*kernels.cpu.largest(torch.randn(700, 50, generator=generator), 5), 50)
    rows = torch.randn(700, 19, generator=generator)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(kernels.cpu.sum_by_latent(codes.order, codes.values, rows))
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_fired_and_counts_say_what_encode_says(architecture):
    sae, x = make(architecture).eval(), vectors(9)
    forward = sae.loss(sae.normalise(x), 0, None)
    z = sae.encode(x)
    assert torch.equal(forward.fired, (z > 0).any(0))
    assert torch.equal(forward.n_active, (z > 0).sum(1))


def store(sae, path, name="topk"):
    settings = SETTINGS[name]
    saes.save(sae, path, settings=settings, inputs={"activations": "0" * 64}, stream="layer-11.cls")
    return path


def test_saving_loading_and_running_gives_the_same_bits_in_evaluation_mode(architecture, tmp_path):
    sae, x = make(architecture, d=48), vectors(32, 48)
    loaded = saes.load(store(sae, tmp_path / "checkpoint.safetensors", architecture))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(loaded(x), sae(x))
    assert torch.equal(loaded.encode(x), sae.encode(x))
    assert loaded.stream == "layer-11.cls"
    assert loaded.metadata["settings"]["n_latents"] == N
    again = store(loaded, tmp_path / "again.safetensors", architecture)
    assert again.read_bytes() == (tmp_path / "checkpoint.safetensors").read_bytes()


def test_the_checkpoint_can_be_used_without_this_package(architecture, tmp_path):
    sae, x = make(architecture), vectors()
    path = store(sae, tmp_path / "checkpoint.safetensors", architecture)
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
    with pytest.raises(UserError, match="no checkpoint of saev"):
        saes.load(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="no checkpoint of saev"):
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


def test_k_above_the_number_of_latents_is_refused():
    with pytest.raises(UserError, match="k: 41 is larger than n_latents: 40"):
        make("topk", k=N + 1)
