"""Damage to image files that Pillow decodes without a word."""

import zlib

PNG = b"\x89PNG\r\n\x1a\n"
WITHOUT_ZEROS = (b"WEBP", b"avif", b"avis")
"""What stands at byte 8 of compressed files that don't end in many zeros."""
TAIL = 4
"""These files are damaged if one in so many of their bytes is a zero at the end. A large WebP of a
single colour has one in 18."""


class BadImage(Exception):
    """An image that can't be read. The text is a short reason, the same on every try."""


def damage(data: bytes) -> str | None:
    """Why the bytes of an image can't be those that were written; None if nothing shows it.

    An interrupted download or a power cut often leaves a file of the full size that ends in zeros.
    Formats without checksums, and those that hold plain pixels, don't show this.
    """
    if data.startswith(PNG):
        return _damage_of_png(data)
    zeros = len(data) - len(data.rstrip(b"\0"))
    if data[8:12] in WITHOUT_ZEROS and zeros * TAIL > len(data):
        return f"its last {zeros:,} bytes are zeros"
    return None


def _damage_of_png(data: bytes) -> str | None:
    """Compare the checksums of the pixels, which Pillow doesn't. It checks those of other parts."""
    at = len(PNG)
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + size
        if kind == b"IEND" or end + 4 > len(data):
            return None  # Pillow says if pixels are missing
        if kind == b"IDAT" and zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(
            data[end : end + 4], "big"
        ):
            return f"its pixels don't match their checksum, between bytes {at:,} and {end:,}"
        at = end + 4
    return None
