"""Reads the scripts with the data of a page, as the page does."""

import base64
import gzip
import json
import re

import numpy as np

from saev.dashboard import artifact as names


def script_data(path):
    """The document of a script of data."""
    return json.loads(re.fullmatch(r'saevData\["[^"]*"\]=(.*);\n', path.read_text())[1])


def column(packed):
    """The numbers of a column: (n,) of the type that they are kept in."""
    kind = np.dtype(packed["type"]).newbyteorder("<")
    apart = np.frombuffer(gzip.decompress(base64.b64decode(packed["values"])), np.uint8)
    numbers = np.ascontiguousarray(apart.reshape(kind.itemsize, -1).T).view(kind)[:, 0]
    return numbers[column(packed["places"])] if "places" in packed else numbers


def places(dashboard):
    """Where the data of each latent lies: (n,)."""
    return column(script_data(dashboard / names.FIGURES)["numbers"]["place"])


def latents_of(dashboard, name=names.block):
    """The first script of data of latents, or of heat maps, with its lists in their order. Holds
    all latents of a page of at most 64."""
    content = script_data(dashboard / name(0))

    def sorted_by_latent(entries):
        return [entries[place] for place in places(dashboard)]

    if isinstance(content, list):
        return sorted_by_latent(content)
    shared = ("images", "texts")
    return {k: v if k in shared else sorted_by_latent(v) for k, v in content.items()}
