"""Images of over 8 bits: a range that becomes black and white, and a word if they look black."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from recording import list_images, record, settings

from saev.activations.depth import HIDDEN, Depths, depths_of
from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.images.damage import BadImage
from saev.images.decode import decode, open_rgb
from saev.settings.images import AnyImagesSettings

TWELVE = np.linspace(0, 4095, 33 * 32).reshape(32, 33)


def tiff(values):
    Image.fromarray(values).save(held := io.BytesIO(), "TIFF")
    return held.getvalue()


def png16(values, colour_type):
    """A PNG of 16 bits per channel, which Pillow can't write in colour."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def first_line(image):
    return np.asarray(image)[0, :, 0].tolist()


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4", "<f4"])
def test_a_range_says_which_values_are_black_and_white(kind):
    values = np.array([[0, 1000, 2047.5, 3095, 4095, 5000]]).astype(kind)
    image = open_rgb(tiff(values), gray_range=(1000, 3095))
    assert first_line(image) == [
        0,
        0,
        round(float(values[0, 2] - 1000) * 255 / 2095),
        255,
        255,
        255,
    ]


def test_a_range_opens_what_is_refused_without_it():
    signed, floats = np.array([[-500, 0, 500]], np.int32), np.array([[-1, 0, 1]], np.float32)
    for values, span in ((signed, (-500, 500)), (floats, (-1, 1))):
        with pytest.raises(BadImage, match="set gray_range"):
            open_rgb(tiff(values))
        assert first_line(open_rgb(tiff(values), gray_range=span)) == [0, 128, 255]
    with pytest.raises(BadImage, match="NaN or infinite"):
        open_rgb(tiff(np.array([[0, np.nan]], np.float32)), gray_range=(0, 1))


def test_a_range_leaves_images_of_8_bits_as_they_are():
    image = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    image.save(held := io.BytesIO(), "PNG")
    assert first_line(open_rgb(held.getvalue(), gray_range=(0, 10))) == list(range(256))
    assert decode(held.getvalue()).depth is None


def test_the_depth_of_each_kind_of_file_is_found():
    for values in (TWELVE.astype("<u2"), TWELVE.astype(">u2"), TWELVE.astype("<i4")):
        colour, largest, white = decode(tiff(values)).depth
        assert (colour, largest, white) == (False, 4095, 4095 / 65535)
    for channels, colour_type in ((2, 4), (3, 2), (4, 6)):
        values = np.repeat(TWELVE.astype(np.uint16)[..., None], channels, 2)
        colour, _, white = decode(png16(values, colour_type)).depth
        assert colour
        assert white == 15 / 255
    assert decode(tiff((TWELVE / 4095).astype(np.float32))).depth.white == 1
    assert decode(png16((TWELVE * 16).astype(np.uint16), 0)).depth.white == 4095 * 16 / 65535


def test_a_range_is_checked_and_leaves_the_digest_if_it_is_not_given():
    read = lambda **given: parsed(AnyImagesSettings, {"folder": "a", **given})  # noqa: E731
    assert read().essential() == {"folder": "a"}
    assert read(gray_range=[0, 4095]).essential() == {"folder": "a", "gray_range": [0.0, 4095.0]}
    with pytest.raises(UserError, match=r"black \(5\) must be less than white \(5\)"):
        read(gray_range=[5, 5])


def test_doubts_name_counts_values_and_what_to_set():
    assert Depths(gray=7).doubts(None) == []
    (dark,) = Depths(gray=7, gray_dark=3, gray_largest=3950).doubts(None)
    assert dark.startswith("3 of 7 gray images of more than 8 bits look nearly black")
    assert "largest value is 3,950, and white is 65,535" in dark
    assert dark.endswith("[0, 4095]")
    (fraction,) = Depths(gray=7, gray_dark=3, gray_largest=0.125).doubts(None)
    assert fraction.endswith("[0, 0.125]")
    assert Depths(gray=7, cut=2, cut_largest=900).doubts(None) == []
    (cut,) = Depths(gray=7, cut=2, cut_largest=900).doubts((0, 255))
    assert "2 of 7 gray images" in cut
    assert "up to 900" in cut


def test_recordings_of_dark_images_say_so_and_a_range_brightens_them(tmp_path, caplog):
    caplog.set_level("INFO")
    images = tmp_path / "images"
    images.mkdir()
    for i in range(300):
        Image.fromarray((TWELVE + i % 2).clip(0, 4095).astype(np.uint16)).save(images / f"{i}.tif")
    Image.new("L", (40, 40), 9).save(images / "eight.png")
    plain = list_images(images, tmp_path / "results" / "dark-00000000")
    dark = record(plain, plain / "tiny-00000000", settings(tmp_path), range(2))
    assert caplog.text.count("gray images of more than 8 bits look nearly black") == 2
    assert "warning: 300 of 300 gray images" in caplog.text
    run = json.loads((plain / "tiny-00000000/run.json").read_text())
    assert run["depths"]["gray_dark"] == 300
    caplog.clear()
    ranged = list_images(images, tmp_path / "results" / "r-00000000", gray_range=[0, 4095])
    light = record(ranged, ranged / "tiny-00000000", settings(tmp_path), range(2))
    assert "nearly black" not in caplog.text
    stream = next(iter(dark.streams.values()))
    first, second = (one.read(stream, 0, 2) for one in (dark, light))
    assert not np.array_equal(first, second)


def test_files_of_several_pages_or_frames_are_counted(tmp_path):
    pages = [Image.new("RGB", (36, 33), colour) for colour in ("red", "green", "blue")]
    for name, more in (("a.tif", pages[1:]), ("b.gif", pages[1:]), ("c.webp", pages[1:])):
        pages[0].save(tmp_path / name, save_all=True, append_images=more)
        assert decode((tmp_path / name).read_bytes()).several, name
    for name in ("d.tif", "e.gif", "f.webp", "g.png", "h.jpg"):
        pages[0].save(tmp_path / name)
        assert not decode((tmp_path / name).read_bytes()).several, name
    pages[0].save(tmp_path / "i.jpg", "MPO", save_all=True, append_images=pages[1:])
    assert not decode((tmp_path / "i.jpg").read_bytes()).several
    (said,) = Depths(several=3).doubts(None)
    assert said.startswith("3 images are in files of several pages or frames")


def test_images_that_are_transparent_throughout_are_counted(tmp_path):
    for name, mode, colour, hidden in (
        ("a.png", "RGBA", (9, 9, 9, 0), True),
        ("b.png", "LA", (9, 0), True),
        ("c.tga", "RGBA", (9, 9, 9, 0), True),
        ("d.png", "RGBA", (9, 9, 9, 1), False),
        ("e.png", "RGB", (9, 9, 9), False),
    ):
        Image.new(mode, (8, 8), colour).save(tmp_path / name)
        assert decode((tmp_path / name).read_bytes()).hidden == hidden, name
    record = {"row": 0, HIDDEN: True}
    (said,) = depths_of([record, {"row": 1}]).doubts(None)
    assert said.startswith("1 images are transparent throughout")
