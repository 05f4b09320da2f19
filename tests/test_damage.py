"""Image files with damage that Pillow decodes without a word."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from saev.images.damage import BadImage
from saev.images.decode import decode

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))


def encoded(image, format_name, **options):
    file = BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_png_that_ends_in_zeros_is_damaged(share):
    data = encoded(NOISE, "PNG")
    whole = int(len(data) * share)
    with pytest.raises(BadImage, match="damaged PNG"):
        decode(data[:whole] + bytes(len(data) - whole))


def test_no_flipped_bit_changes_the_pixels_of_a_png():
    rng = np.random.default_rng(1)
    for compress_level in (0, 6):
        data = encoded(NOISE.resize((16, 16)), "PNG", compress_level=compress_level)
        right = np.asarray(decode(data).image)
        refused = 0
        for at in rng.integers(len(data), size=200):
            flipped = bytearray(data)
            flipped[at] ^= 1 << rng.integers(8)
            try:
                found = np.asarray(decode(bytes(flipped)).image)
            except BadImage:
                refused += 1
            else:
                assert np.array_equal(found, right), at
        assert refused > 150


def test_a_png_in_many_pieces_or_cut_after_its_pixels_is_whole():
    data = encoded(Image.fromarray(np.zeros((400, 400, 3), np.uint8)), "PNG")
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    pieces = encoded(Image.fromarray(noise), "PNG")
    assert pieces.count(b"IDAT") > 3
    for one in (data, pieces, pieces[:-12]):
        decode(one)


@pytest.mark.parametrize("format_name", ["WEBP", "AVIF"])
def test_a_compressed_image_whose_half_is_zeros_is_damaged(format_name):
    data = encoded(NOISE, format_name)
    decode(data)
    with pytest.raises(BadImage, match="bytes are zeros"):
        decode(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def test_large_images_of_one_colour_are_not_damaged():
    for lossless in (True, False):
        decode(encoded(Image.new("RGB", (4000, 1000)), "WEBP", lossless=lossless))
    decode(encoded(Image.new("RGB", (1000, 1000)), "AVIF"))
