"""The text tower that belongs to a tower of open_clip: texts in, unit vectors out.

Its vectors lie in the space of the tower's own output (`pooled`), so a text is near an image that
it describes (Radford et al. 2021, Learning transferable visual models from natural language
supervision). The weights come from the same file, tag or repository.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saev.activations.towers.names import CLIP, renamed, tower_of, under
from saev.activations.towers.open_clip import fetched, read_config
from saev.activations.towers.precision import exact_float32
from saev.activations.towers.unpickled import StateDict, read_tensors
from saev.activations.towers.weights import (
    from_hub,
    is_file_name,
    load_strictly,
    only_checking,
    weights_file,
)
from saev.core.errors import UserError
from saev.settings.vit import VitSettings

BATCH = 64
"""Texts that run at once. The last batch is filled up, so that no vector depends on the others."""
SMALLEST_VISION = {"image_size": 1, "patch_size": 1, "width": 1, "head_width": 1, "layers": 1}
"""The smallest image tower. open_clip can't build a text tower without one."""
EMBEDDING = "token_embedding.weight"
"""The tensor that only a text tower has, in open_clip and in transformers."""
OF_TRANSFORMERS = (
    (r"embeddings\.token_embedding\.", "token_embedding."),
    (r"^final_layer_norm\.", "ln_final."),
    *CLIP,
)
NO_TEXT = re.compile(r"(^|\.)(visual|vision_model)\.|(^|\.)logit_(scale|bias)$")
"""In the names of tensors that aren't of a text tower."""


@dataclass(frozen=True)
class TextTower:
    """A text tower in evaluation mode. Made by `load_text_tower`.

    Attributes:
        module: maps tokens (b, context) to vectors (b, e); tokenize: gives tokens of texts.
        logit_scale: what cosines are multiplied by before a softmax over texts.
    """

    module: nn.Module
    tokenize: Callable[[list[str]], Tensor]
    logit_scale: float
    device: torch.device

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n e"]:
        """Unit vectors of ``texts``, float64 on the CPU. Each depends on its own text alone."""
        found = []
        for start in range(0, len(texts), BATCH):
            here = list(texts[start : start + BATCH])
            tokens = self.tokenize(here + [""] * (BATCH - len(here)))
            with exact_float32(self.device):
                vectors = self.module(tokens.to(self.device))
            found.append(vectors[: len(here)].cpu().double())
        return nn.functional.normalize(torch.cat(found), dim=1)


def encode_texts(
    settings: VitSettings, texts: Sequence[str], device: torch.device | str = "cpu"
) -> Float[Tensor, "n e"]:
    """Unit vectors of ``texts`` (one or more) by the text tower of ``settings``, float64.

    Raises:
        UserError: see `load_text_tower`.
    """
    return load_text_tower(settings, device)(texts)


def load_text_tower(settings: VitSettings, device: torch.device | str = "cpu") -> TextTower:
    """Load the text tower that belongs to the tower of ``settings``.

    With `weights: random`, it is as random as the tower.

    Raises:
        UserError: there is none, or not in the weights.
    """
    if settings.model.startswith("timm/"):
        raise UserError(f"{settings.model} has no text tower: timm's models are of images alone")
    weights = settings.weights or ""
    source = weights_file(weights, settings.weights_sha256) if is_file_name(weights) else None
    config, _, commit = read_config(settings, source)
    module = _built(config, settings)
    source = source or fetched(settings, commit)
    scale = 1 / 0.07  # what open_clip starts from
    if source is not None:
        state, scale = _read(source.path, module)
        load_strictly(module, state, str(source.path), f"the text tower of {settings.model}")
    module.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
    tokenize = _tokenizer(config["text_cfg"], settings)
    return TextTower(module, tokenize, scale, torch.device(device))


def _built(config: dict[str, Any], settings: VitSettings) -> Any:
    """The text tower with random weights. Leaves PyTorch's random state unchanged."""
    from open_clip import CustomTextCLIP

    text = config.get("text_cfg")
    if not text:
        raise UserError(f"{settings.model} has no text tower: its configuration has no text_cfg")
    if "hf_model_name" in text or "multimodal_cfg" in config:
        raise UserError(f"the text tower of {settings.model} isn't a CLIP's: saev can't run it")
    quick_gelu = config.get("quick_gelu", False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.weights_seed)
        try:
            # It holds the text tower as a module of its own; in a CLIP, its parts lie open.
            whole: Any = CustomTextCLIP(config["embed_dim"], SMALLEST_VISION, text, quick_gelu)
        except (TypeError, KeyError, AssertionError, RuntimeError) as error:
            raise UserError(
                f"open_clip can't build the text tower of {settings.model}: {error}"
            ) from error
    whole.text.output_tokens = False
    return whole.text


def _read(path: Path, module: nn.Module) -> tuple[StateDict, float]:
    """The tensors of a file's text tower as open_clip names them, and its scale of cosines.

    Raises:
        UserError: the file holds no text tower, or several.
    """
    place = "meta" if only_checking() else "cpu"
    with torch.device("cpu"):
        whole = read_tensors(path)
        scale = next((v for k, v in whole.items() if k.split(".")[-1] == "logit_scale"), None)
        state = {k: v for k, v in whole.items() if not NO_TEXT.search(k)}
        if scale is None or not any(name.endswith(EMBEDDING) for name in state):
            raise UserError(
                f"the weights {path} hold no text tower: use the file of the whole model, with "
                f"images and texts"
            )
        found = _from_transformers(state) or tower_of(state, module.state_dict(), str(path))
        found = found or state
        floats = {
            k: v.to(place, torch.float32 if v.is_floating_point() else v.dtype)
            for k, v in found.items()
        }
        return floats, float(scale.float().exp())


def _from_transformers(state: StateDict) -> StateDict | None:
    """The tensors of a text tower of transformers as open_clip names them; None for others."""
    ends = [name for name in state if name.endswith(f"text_model.embeddings.{EMBEDDING}")]
    if len(ends) != 1:
        return None
    root = ends[0].removesuffix(f".embeddings.{EMBEDDING}")
    out = renamed(under(state, root), OF_TRANSFORMERS)
    projection = state.get(f"{root.removesuffix('text_model')}text_projection.weight")
    return out if projection is None else {**out, "text_projection": projection.T}


def _tokenizer(text: dict[str, Any], settings: VitSettings) -> Callable[[list[str]], Tensor]:
    """The tokenizer that open_clip uses for such a text tower."""
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

    more = {
        "context_length": text.get("context_length", DEFAULT_CONTEXT_LENGTH),
        **(text.get("tokenizer_kwargs") or {}),
    }
    name = text.get("hf_tokenizer_name")
    if name:
        mode = text.get("tokenizer_mode")
        if only_checking():
            return SimpleTokenizer()
        return from_hub(
            f"the tokenizer {name} of {settings.model}",
            lambda: HFTokenizer(name, tokenizer_mode=mode, **more),
        )
    simple = SimpleTokenizer(**more)
    size = text.get("vocab_size", simple.vocab_size)
    if size < simple.vocab_size:
        raise UserError(
            f"the text tower of {settings.model} knows {size:,} tokens, but open_clip's tokenizer "
            f"has {simple.vocab_size:,}: correct vocab_size in its text_cfg"
        )
    return simple
