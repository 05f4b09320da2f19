"""Sparse autoencoders: one file per architecture, one contract, one file format."""

from saev.sae.base import Active, Forward, Sae
from saev.sae.checkpoint import load, save
from saev.sae.registry import build

__all__ = ["Active", "Forward", "Sae", "build", "load", "save"]
