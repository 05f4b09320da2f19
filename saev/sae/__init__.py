"""Sparse autoencoders: one file an architecture, one contract, one file format."""

from saev.sae.base import Active, Forward, Sae
from saev.sae.checkpoint import load, save
from saev.sae.registry import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "Active", "Forward", "Sae", "build", "load", "save"]
