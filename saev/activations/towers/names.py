"""Finds a tower among the tensors of a file, and translates the names that transformers uses."""

import re
from collections import Counter
from collections.abc import Callable, Iterable

import torch

from saev.activations.towers.unpickled import StateDict
from saev.core import logs
from saev.core.errors import UserError

AVERAGED = re.compile(r"(^|[._])(ema|teacher|averaged|swa)([._]|$)")
"""In the names of averaged weights. timm's and DINO's own loaders prefer these, too."""
ENOUGH = 0.5
"""Share of a tower's names that must be there for a prefix to be its prefix."""


def tower_of(state: StateDict, own: Iterable[str], source: str) -> StateDict | None:
    """The tensors of one tower, without the prefix that the file puts before their names.

    Prefixes such as `module.`, `model.visual.` or `state_dict.` aren't known by name: the prefix is
    the one under which most of the tower's own names occur.

    Args:
        state: all tensors of the file.
        own: names of the tower's tensors.
        source: the file, for messages.

    Returns:
        None if the file has none of the tower's names.

    Raises:
        UserError: the file holds several such towers.
    """
    own = set(own)
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in own:
                found[".".join(parts[:i])] += 1
    most = max(found.values(), default=0)
    if not most or most < ENOUGH * len(own):
        return None
    prefixes = [prefix for prefix, n in found.items() if n == most]
    prefix = _one(prefixes, source)
    if not AVERAGED.search(prefix):
        _say_averaged(state, prefix, source)
    return under(state, prefix)


def _say_averaged(state: StateDict, used: str, source: str) -> None:
    """Say that a file has averaged weights, too, of which no whole tower can be made."""
    other = [name for name, value in state.items() if AVERAGED.search(name) and value.ndim]
    other = [name for name in other if not name.startswith(f"{used}.")]
    if other:
        logs.say(
            f"{source}: the weights under {used or '(no prefix)'} are used. The file has averaged "
            f"ones too, such as {other[0]}, but not under the names of this tower"
        )


def _one(prefixes: list[str], source: str) -> str:
    """The prefix to use, of those that hold a whole tower."""
    if len(prefixes) == 1:
        return prefixes[0]
    averaged = [prefix for prefix in prefixes if AVERAGED.search(prefix)]
    if len(averaged) != 1:
        raise UserError(
            f"the weights {source} hold several towers, under "
            f"{', '.join(p or '(no prefix)' for p in prefixes)}: save the one that you want in a "
            f"file of its own"
        )
    logs.say(f"{source} holds {', '.join(prefixes)}: using the averaged weights, {averaged[0]}")
    return averaged[0]


def under(state: StateDict, prefix: str) -> StateDict:
    """The tensors under ``prefix``, without it."""
    start = f"{prefix}." if prefix else ""
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


# transformers ---------------------------------------------------------------------------------

CLIP = (
    (r"embeddings\.patch_embedding\.", "conv1."),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"embeddings\.class_embedding", "class_embedding"),
    (r"pre_layrnorm\.", "ln_pre."),
    (r"post_layernorm\.", "ln_post."),
    (r"encoder\.layers\.", "transformer.resblocks."),
    (r"self_attn\.qkv_", "attn.in_proj_"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)
SIGLIP = (
    (r"embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (r"^post_layernorm\.", "norm."),
    (r"encoder\.layers\.", "blocks."),
    (r"self_attn\.qkv_", "attn.qkv."),
    (r"self_attn\.out_proj", "attn.proj"),
    (r"layer_norm([12])", r"norm\1"),
    (r"head\.probe", "attn_pool.latent"),
    (r"head\.attention\.out_proj", "attn_pool.proj"),
    (r"head\.layernorm", "attn_pool.norm"),
    (r"head\.mlp", "attn_pool.mlp"),
)
DINO = (
    (r"embeddings\.(cls_token|mask_token|register_tokens)", r"\1"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"encoder\.layer\.", "blocks."),
    (r"attention\.attention\.qkv_", "attn.qkv."),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale([12])\.lambda1", r"ls\1.gamma"),
    (r"mlp\.weights_in", "mlp.w12"),
    (r"mlp\.weights_out", "mlp.w3"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(blocks\.\d+)\.output\.dense", r"\1.mlp.fc2"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"^layernorm\.", "norm."),
)
QKV = re.compile(r"(.*\.)(q_proj|query)\.(weight|bias)$")
"""The first of three tensors that other libraries hold as one."""
OTHERS = {"q_proj": ("k_proj", "v_proj"), "query": ("key", "value")}


def from_transformers(state: StateDict, source: str) -> StateDict | None:
    """Translate the names of transformers' image towers.

    Returns:
        CLIP as open_clip names it, under `visual.`; SigLIP as timm does; DINOv2 and ViT as their
        authors do, which timm reads. None for other files.

    Raises:
        UserError: they are the names of a model that can't be translated.
    """
    for anchor, translate in ANCHORS.items():
        roots = [n.removesuffix(anchor).rstrip(".") for n in state if _ends(n, anchor)]
        if roots:
            return translate(under(state, _one(roots, source)), state)
    for anchor, model in UNKNOWN.items():
        if any(_ends(name, anchor) for name in state):
            raise UserError(
                f"the weights {source} have the names of transformers' {model}, which can't be "
                f"translated: use the file of timm or open_clip for this model"
            )
    return None


def _ends(name: str, anchor: str) -> bool:
    return name == anchor or name.endswith(f".{anchor}")


def _clip(tower: StateDict, whole: StateDict) -> StateDict:
    out = renamed(tower, CLIP)
    projection = [v for k, v in whole.items() if _ends(k, "visual_projection.weight")]
    if projection:
        out["proj"] = projection[0].T
    return {f"visual.{name}": value for name, value in out.items()}


def _siglip(tower: StateDict, _: StateDict) -> StateDict:
    out = renamed(tower, SIGLIP)
    out["pos_embed"] = out["pos_embed"].unsqueeze(0)
    for kind in ("weight", "bias"):
        joined = out.pop(f"head.attention.in_proj_{kind}", None)
        if joined is not None:
            query, key, value = joined.chunk(3)
            out[f"attn_pool.q.{kind}"] = query
            out[f"attn_pool.kv.{kind}"] = torch.cat([key, value])
    return out


def _dino(tower: StateDict, _: StateDict) -> StateDict:
    if any(".o_proj." in name for name in tower):
        raise UserError(
            "these weights have the names that transformers uses inside of its programs since "
            "version 5: save the model with its save_pretrained, and use model.safetensors"
        )
    out = renamed(tower, DINO)
    return {k: v for k, v in out.items() if not k.startswith(("pooler.", "classifier."))}


def renamed(tower: StateDict, rules: tuple[tuple[str, str], ...]) -> StateDict:
    """The tensors with q, k and v joined and ``rules`` applied, without buffers."""
    joined: StateDict = {}
    for name, value in tower.items():
        query = QKV.match(name)
        if query:
            start, first, kind = query.groups()
            others = [tower[f"{start}{other}.{kind}"] for other in OTHERS[first]]
            joined[f"{start}qkv_{kind}"] = torch.cat([value, *others])
        elif not re.search(r"\.(k_proj|v_proj|key|value)\.(weight|bias)$|position_ids$", name):
            joined[name] = value
    out = {}
    for name, value in joined.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    return out


ANCHORS: dict[str, Callable[[StateDict, StateDict], StateDict]] = {
    "embeddings.class_embedding": _clip,
    "embeddings.patch_embedding.bias": _siglip,
    "embeddings.patch_embeddings.projection.weight": _dino,
}
"""A name that only one family has, and how it is translated. CLIP's patches have no bias."""
UNKNOWN = {
    "embeddings.patch_embeddings.weight": "DINOv3",
    "embeddings.patch_embedding.weight": "vision model",
    "encoder.layer.0.attention.attention.query.weight": "vision model",
}
