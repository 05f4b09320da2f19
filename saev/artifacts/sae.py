"""Artifact of the `train` stage: names of its files."""

STAGE = "train"
CHECKPOINT, CURVE, FIGURE = "checkpoint.safetensors", "train.jsonl", "curves.png"
