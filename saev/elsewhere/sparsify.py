"""EleutherAI's sparsify: `cfg.json` and `sae.safetensors`.

``z`` is the k largest of ``relu((x − b_dec) encoder.weightᵀ + encoder.bias)``, and
``x̂ = z W_dec + b_dec``.
"""

from pathlib import Path

from saev.elsewhere.common_form import Arrays, Described, Hints, Plain, number, tensor, unknown
from saev.elsewhere.headers import configuration, require_shapes

FILES = ("cfg.json", "sae.safetensors")
REFUSED = {
    "transcode": "it predicts another layer",
    "skip_connection": "it adds a product of the input to the reconstruction",
    "signed": "its latents can be negative",
}


def describe(path: Path, hints: Hints) -> Described:
    """What `cfg.json` and the header say. ``path`` is the folder."""
    files = tuple(path / name for name in FILES)
    given, where = configuration(files[0]), files[0]
    d, k = number(given, "d_in", where), number(given, "k", where)
    n = given.get("num_latents") or d * number(given, "expansion_factor", where)
    for key, why in REFUSED.items():
        if given.get(key):
            raise unknown(where, key, given[key], "false", why)
    if given.get("activation", "topk") != "topk":
        why = "it takes the largest of each group of latents"
        raise unknown(where, "activation", given["activation"], "topk", why)
    wanted = {"encoder.weight": (n, d), "encoder.bias": (n,), "W_dec": (n, d), "b_dec": (d,)}
    require_shapes(files[1], wanted)
    return Described("topk", files, d, n, k)


def convert(described: Described, arrays: Arrays) -> Plain:
    """Transpose the encoder."""
    path, d, n = described.weights, described.d, described.n_latents
    return Plain(
        tensor(arrays, "encoder.weight", (n, d), path).T,
        tensor(arrays, "encoder.bias", (n,), path),
        tensor(arrays, "W_dec", (n, d), path),
        tensor(arrays, "b_dec", (d,), path),
    )
