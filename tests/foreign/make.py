"""Makes the dictionaries of other libraries that the tests convert, with those libraries' own code.

Each library needs an environment of its own:

    python -m venv /tmp/peer && /tmp/peer/bin/pip install WHAT
    /tmp/peer/bin/python tests/foreign/make.py PEER

| PEER | WHAT |
| --- | --- |
| sae-lens | sae-lens==6.54.12 |
| sparsify | eai-sparsify==1.3.3 |
| dictionary-learning | dictionary-learning==0.1.0 |
| saev | saev==0.1.0 (Imageomics' package of that name) |
| saev-schema-2 | the same; $SAEV_MODELING names `src/saev/nn/modeling.py`, see below |
| overcomplete | overcomplete==0.3.0 'matplotlib<3.9' |
| vit-prisma | vit-prisma==0.1.4 torch einops fancy-einsum, all but torch with `--no-deps`; \
  $PRISMA_SAE names a folder with `sae.py` and `config.py` of its later code, see below |

The code that writes schema 2 isn't on the index. Its module is that of OSU-NLP-Group/saev at commit
00d07b7d. It was compared without its Matryoshka classes and `load` of older schemas.

ViT-Prisma on the index holds no dictionaries; its repository does, in `src/vit_prisma/sae/`. They
were compared with its classes `StandardSparseAutoencoder` and `GatedSparseAutoencoder`, without
what trains them, and with `config.py` of Prisma-Multimodal/ViT-Prisma at 845f8ebc.

`PEER` also reads back what this project exports to it: `make.py PEER --check FOLDER` compares the
dictionary in FOLDER with the `expected.safetensors` beside it.

A case is a folder: what the library wrote, and `expected.safetensors` with vectors ``x`` (12, 8),
and the latents ``z`` (12, 16) and reconstructions ``y`` (12, 8) that the library gives for them,
after it has read its own file again.
"""

import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
D, N, K, VECTORS = 8, 16, 4, 12
EXPECTED = "expected.safetensors"
Encoded = tuple[torch.Tensor, torch.Tensor]


def randomised(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The module with no parameter at its initial value, and biases that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn * (0.5 if parameter.ndim > 1 else 0.3))
    return module


def vectors() -> torch.Tensor:
    """The vectors (12, 8) that every library sees."""
    return torch.randn(VECTORS, D, generator=torch.Generator().manual_seed(99)) * 1.5 + 0.3


def write(case: str, run: Callable[[torch.Tensor], Encoded]) -> None:
    """Write what a library gives for the vectors."""
    x = vectors()
    with torch.no_grad():
        z, y = run(x)
    found = {"x": x, "z": z.to_dense().contiguous(), "y": y.contiguous()}
    # The conversion refuses negative latents.
    assert 0 < (found["z"] > 0).sum() < VECTORS * N, case
    assert found["z"].min() == 0, case
    save_file({name: t.detach().float() for name, t in found.items()}, HERE / case / EXPECTED)
    print(case, f"L0 {(found['z'] != 0).sum(1).float().mean():.2f}")


def folder(case: str) -> Path:
    path = HERE / case
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    return path


def sae_lens() -> None:
    import sae_lens as lib

    def loaded(at: Path) -> Callable[[torch.Tensor], Encoded]:
        sae = lib.SAE.load_from_disk(at)
        return lambda x: (sae.encode(x), sae.decode(sae.encode(x)))

    size = {"d_in": D, "d_sae": N}
    plain: dict[str, Any] = {
        "standard": lib.StandardSAE(lib.StandardSAEConfig(**size, apply_b_dec_to_input=True)),
        "standard-unsubtracted": lib.StandardSAE(
            lib.StandardSAEConfig(**size, apply_b_dec_to_input=False)
        ),
        "topk": lib.TopKSAE(lib.TopKSAEConfig(**size, k=K)),
        "topk-rescaled": lib.TopKSAE(
            lib.TopKSAEConfig(**size, k=K, rescale_acts_by_decoder_norm=True)
        ),
        "jumprelu": lib.JumpReLUSAE(lib.JumpReLUSAEConfig(**size, apply_b_dec_to_input=False)),
        "gated": lib.GatedSAE(lib.GatedSAEConfig(**size)),
    }
    for seed, (name, sae) in enumerate(plain.items()):
        at = folder(f"sae-lens-{name}")
        randomised(sae, seed).save_model(at)
        write(at.name, loaded(at))
    trained = {
        "batchtopk": lib.BatchTopKTrainingSAE(lib.BatchTopKTrainingSAEConfig(**size, k=K)),
        "matryoshka": lib.MatryoshkaBatchTopKTrainingSAE(
            lib.MatryoshkaBatchTopKTrainingSAEConfig(**size, k=K, matryoshka_widths=[4, N])
        ),
    }
    for seed, (name, sae) in enumerate(trained.items()):
        at = folder(f"sae-lens-{name}")
        randomised(sae, 20 + seed)
        sae.topk_threshold.fill_(0.7)
        sae.save_inference_model(at)
        write(at.name, loaded(at))
    at = folder("sae-lens-v5-topk")  # as versions 3 to 5 wrote it; version 6 reads it
    randomised(plain["topk"], 30).save_model(at)
    old = {
        **{"architecture": "standard", "d_in": D, "d_sae": N, "dtype": "float32", "device": "cpu"},
        **{"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
        **{"apply_b_dec_to_input": True, "normalize_activations": "none", "hook_name": "h"},
        **{"model_name": "m", "sae_lens_training_version": "5.0.0", "context_size": 1},
    }
    (at / "cfg.json").write_text(json.dumps(old))
    write(at.name, loaded(at))


def sparsify() -> None:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # it needs a GPU
    from sparsify import SparseCoder, SparseCoderConfig

    at = folder("sparsify-topk")
    coder = SparseCoder(D, SparseCoderConfig(num_latents=N, k=K))
    randomised(coder, 0).save_to_disk(at)
    write(at.name, sparsify_loaded(at))


def sparsify_loaded(at: Path) -> Callable[[torch.Tensor], Encoded]:
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(at)

    def run(x: torch.Tensor) -> Encoded:
        values, latents, _ = coder.encode(x)
        z = torch.zeros(len(x), N).scatter_(1, latents, values)
        return z, coder.decode(values, latents)

    return run


def dictionary_learning() -> None:
    from dictionary_learning import dictionary, utils

    made = {
        "AutoEncoder": dictionary.AutoEncoder(D, N),
        "AutoEncoderNew": dictionary.AutoEncoderNew(D, N),
        "GatedAutoEncoder": dictionary.GatedAutoEncoder(D, N),
        "JumpReluAutoEncoder": dictionary.JumpReluAutoEncoder(D, N),
        "AutoEncoderTopK": utils.AutoEncoderTopK(D, N, K),
        "BatchTopKSAE": utils.BatchTopKSAE(D, N, K),
        "MatryoshkaBatchTopKSAE": utils.MatryoshkaBatchTopKSAE(D, N, K, [4, 12]),
    }
    for seed, (name, sae) in enumerate(made.items()):
        at = folder(f"dictionary-learning-{name}")
        randomised(sae, seed)
        if "BatchTopK" in name:
            sae.threshold.fill_(0.7)
        torch.save(sae.state_dict(), at / "ae.pt")
        config = {"dict_class": name, "activation_dim": D, "dict_size": N, "k": K}
        (at / "config.json").write_text(json.dumps({"trainer": config}))
        read, _ = utils.load_dictionary(str(at), "cpu")
        write(at.name, lambda x, read=read: (read.encode(x), read.decode(read.encode(x))))


def saev() -> None:
    from saev import config, nn

    at = folder("saev-relu")
    made = nn.SparseAutoencoder(config.SparseAutoencoder(d_vit=D, exp_factor=N // D))
    nn.dump(str(at / "sae.pt"), randomised(made, 0))
    read = nn.load(str(at / "sae.pt"))
    write(at.name, lambda x: (read(x)[1], read(x)[0]))


def saev_modeling() -> Any:
    """The module at $SAEV_MODELING, inside the installed package."""
    import saev
    from saev import helpers

    saev.__version__ = "0.1.0"
    helpers.current_git_commit = lambda: None
    found = importlib.util.spec_from_file_location("saev.nn.modeling", os.environ["SAEV_MODELING"])
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def saev_schema_2() -> None:
    lib = saev_modeling()
    kinds = {"relu": lib.Relu(), "topk": lib.TopK(top_k=K), "batchtopk": lib.BatchTopK(top_k=K)}
    for seed, (name, activation) in enumerate(kinds.items()):
        at = folder(f"saev-schema-2-{name}")
        config = lib.SparseAutoencoderConfig(d_vit=D, exp_factor=N // D, activation=activation)
        lib.dump(str(at / "sae.pt"), randomised(lib.SparseAutoencoder(config), 50 + seed))
        read = lib.load(str(at / "sae.pt"))
        write(at.name, lambda x, read=read: (read.encode(x), read(x)[0]))


def overcomplete() -> None:
    from overcomplete.sae import SAE, JumpSAE, RATopKSAE, TopKSAE

    points = torch.randn(20, D, generator=torch.Generator().manual_seed(5))
    made: dict[str, Callable[[], Any]] = {
        "topk": lambda: TopKSAE(D, N, top_k=K),
        "relu": lambda: SAE(D, N).untied(bias=True),
        "jumprelu": lambda: JumpSAE(D, N).tied(),
        "archetypal": lambda: RATopKSAE(D, N, points, top_k=K),
    }
    for seed, (name, make) in enumerate(made.items()):
        at = folder(f"overcomplete-{name}")
        torch.save(randomised(make(), seed).eval().state_dict(), at / "sae.pt")
        read = make()
        read.load_state_dict(torch.load(at / "sae.pt", weights_only=True))
        read.eval()
        write(at.name, lambda x, read=read: read(x)[1:])


def vit_prisma() -> None:
    import vit_prisma

    holder = types.ModuleType("vit_prisma.sae")
    holder.__path__ = [os.environ["PRISMA_SAE"]]
    sys.modules[holder.__name__] = vit_prisma.sae = holder
    from vit_prisma.sae import config, sae

    settings = {
        "relu": {},
        "topk": {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
        "gated": {"architecture": "gated", "use_ghost_grads": False},
        "state-dict": {"initialization_method": "independent"},
    }
    for seed, (name, more) in enumerate(settings.items()):
        at = folder(f"vit-prisma-{name}")
        given = config.VisionModelSAERunnerConfig(
            d_in=D, expansion_factor=N // D, normalize_activations="none", device="cpu", **more
        )
        kind = sae.GatedSparseAutoencoder if name == "gated" else sae.StandardSparseAutoencoder
        made = randomised(kind(given), 70 + seed)
        given.save_config(str(at / "config.json"))
        weights = at / ("weights.pt" if name == "state-dict" else "n_images_12.pt")
        if name == "state-dict":  # as on the hub
            torch.save(made.state_dict(), weights)
        else:
            made.save_model(str(weights))
        read = kind.load_from_pretrained(str(weights))
        write(at.name, lambda x, read=read: (z := read.encode(x)[1], read.decode(z)))


def check(peer: str, at: Path) -> None:
    """Compare an export of this project with the latents that it was exported with."""
    if peer == "sae-lens":
        import sae_lens as lib

        sae = lib.SAE.load_from_disk(at)
        encode, decode = sae.encode, sae.decode
    else:
        read = saev_modeling().load(str(next(at.glob("*.pt"))))
        encode, decode = read.encode, read.decode
    known = load_file(at / EXPECTED)
    with torch.no_grad():
        z = encode(known["x"])
        torch.testing.assert_close(z, known["z"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(decode(z), known["y"], rtol=1e-5, atol=1e-5)
    print(f"{at.name}: {peer} gives the same latents and reconstructions")


PEERS: dict[str, Callable[[], None]] = {
    "sae-lens": sae_lens,
    "sparsify": sparsify,
    "dictionary-learning": dictionary_learning,
    "saev": saev,
    "saev-schema-2": saev_schema_2,
    "overcomplete": overcomplete,
    "vit-prisma": vit_prisma,
}


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked[1:2] == ["--check"]:
        check(asked[0], Path(asked[2]))
    else:
        PEERS[asked[0]]()
