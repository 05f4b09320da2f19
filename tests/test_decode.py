"""From bytes to what a person sees, and to what the model sees."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from saev.activations.towers.tower import normalise
from saev.images.damage import BadImage
from saev.images.decode import decode, open_rgb, take_over_pillow
from saev.images.geometry import Geometry
from saev.images.sources.formats import EXTENSIONS, PILLOW


def encoded(image, format_name, **options):
    held = BytesIO()
    image.save(held, format_name, **options)
    return held.getvalue()


def corners(image):
    """Colours of the four corners, left to right, top to bottom."""
    w, h = image.size
    return [image.getpixel(at) for at in ((0, 0), (w - 1, 0), (0, h - 1), (w - 1, h - 1))]


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width=30, height=20):
    """An image whose quarters are red, green, blue, white."""
    image = Image.new("RGB", (width, height))
    for i, colour in enumerate((RED, GREEN, BLUE, WHITE)):
        left, top = (i % 2) * width // 2, (i // 2) * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def geometry(mode="shortest", size=32, resize=None, interpolation="bicubic"):
    return Geometry(
        image_size=size,
        resize_mode=mode,
        resize_size=resize or size,
        interpolation=interpolation,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        patch_size=16,
        grid=(size // 16, size // 16),
    )


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_an_image_is_turned_as_exif_says_once(format_name, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format_name == "WEBP" else {}
    image = open_rgb(encoded(quarters(), format_name, exif=exif, **options))
    assert image.size == ((30, 20) if orientation < 5 else (20, 30))
    assert corners(image) == expected


def test_transparency_lies_over_white():
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    layer.putpixel((1, 0), (0, 0, 0, 128))
    image = open_rgb(encoded(layer, "PNG"))
    assert image.getpixel((0, 0)) == WHITE
    assert image.getpixel((1, 0)) == (127, 127, 127)
    gray = Image.new("LA", (2, 1), (0, 0))
    assert open_rgb(encoded(gray, "PNG")).getpixel((0, 0)) == WHITE


def test_palettes_with_a_transparent_colour_lie_over_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for format_name in ("PNG", "GIF"):
        opened = open_rgb(encoded(image, format_name, transparency=0))
        assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]
    opened = open_rgb(encoded(image, "PNG"))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [RED, BLUE]


def test_a_transparent_colour_of_an_rgb_image_is_white():
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    opened = open_rgb(encoded(image, "PNG", transparency=RED))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]


def test_cmyk_and_bilevel_become_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert open_rgb(encoded(image, "TIFF")).getpixel((0, 0)) == RED
    jpeg = open_rgb(encoded(image, "JPEG", quality=100)).getpixel((4, 4))
    assert np.abs(np.subtract(jpeg, RED)).max() <= 3
    assert open_rgb(encoded(Image.new("1", (8, 8), 1), "PNG")).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut(format_name):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    image = open_rgb(encoded(Image.fromarray(values), format_name))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floats_and_long_integers_are_scaled_or_refused():
    floats = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    assert np.asarray(open_rgb(encoded(floats, "TIFF")))[0, :, 0].tolist() == [0, 128, 255]
    for bad in (np.array([[0, 7.5]], np.float32), np.array([[0, np.nan]], np.float32)):
        with pytest.raises(BadImage, match="32-bit floats"):
            open_rgb(encoded(Image.fromarray(bad), "TIFF"))
    with pytest.raises(BadImage, match="32-bit integers"):
        open_rgb(encoded(Image.fromarray(np.array([[-5, 70000]], np.int32)), "TIFF"))


def test_the_first_frame_of_an_animation_is_seen():
    frames = [Image.new("RGB", (4, 4), c) for c in (BLUE, RED)]
    for format_name, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:], **options)
        assert open_rgb(data).getpixel((0, 0)) == BLUE


def test_truncated_empty_and_foreign_files_give_a_short_reason(tmp_path):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for format_name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        data = encoded(noise, format_name)
        for share in (0.2, 0.5, 0.9):
            with pytest.raises(BadImage) as caught:
                open_rgb(data[: int(len(data) * share)])
            assert len(str(caught.value)) < 200
            assert "BytesIO" not in str(caught.value)
    reasons = {
        b"": "empty",
        b"\0" * 128 + b"DICM" + b"\0" * 200: "DICOM",
        b"\0\0\0\x18ftypheic\0\0\0\0": "HEIC",
        b"<svg xmlns='x'></svg>": "SVG",
        b"<!DOCTYPE html><html>": "HTML",
        b"%PDF-1.7": "PDF",
        b"hello": "not a picture",
        b"\xff\xd8\xff\xe0": "JPEG",
    }
    for data, reason in reasons.items():
        with pytest.raises(BadImage, match=reason):
            open_rgb(data)
    with pytest.raises(BadImage, match="No such file"):
        open_rgb(tmp_path / "absent.png")


def bomb(side):
    """A PNG whose header claims ``side`` × ``side`` pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return png + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header_before_memory_is_taken(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        take_over_pillow()
        with pytest.raises(BadImage, match=r"60,000 × 60,000 pixels are more than max_pixels"):
            open_rgb(bomb(60_000))
        with pytest.raises(BadImage, match="damaged PNG"):
            open_rgb(bomb(100))
    data = encoded(Image.new("RGB", (10, 10)), "PNG")
    assert open_rgb(data, max_pixels=100).size == (10, 10)
    with pytest.raises(BadImage, match="max_pixels"):
        open_rgb(data, max_pixels=99)


def test_in_a_program_that_pillow_is_not_saevs_in_its_own_limit_holds_too(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    refused = r"larger than Pillow allows in this program .*: raise PIL.Image.MAX_IMAGE_PIXELS"
    with pytest.raises(BadImage, match=refused):
        open_rgb(bomb(1000))
    with warnings.catch_warnings(action="error"), pytest.raises(BadImage, match=refused):
        open_rgb(bomb(40))


def test_a_sliver_is_a_bad_image_not_a_huge_resize():
    with pytest.raises(BadImage, match="too narrow"):
        geometry(size=224).pixels(Image.new("RGB", (1, 60_000)))
    with pytest.raises(BadImage, match="too narrow"):
        geometry("longest").pixels(Image.new("RGB", (1, 60_000)))


SIDES = st.integers(1, 130)


@settings(max_examples=150)
@given(
    SIDES,
    SIDES,
    st.sampled_from(["shortest", "longest", "squash"]),
    st.sampled_from([31, 32, 48]),
    st.sampled_from(["bicubic", "bilinear"]),
)
def test_inputs_equal_those_of_open_clip_bit_by_bit(width, height, mode, size, interpolation):
    if mode == "longest" and max(width, height) > 20 * min(width, height):
        return
    rng = np.random.default_rng([width, height])
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    ours = geometry(mode, size, interpolation=interpolation)
    theirs = image_transform_v2(
        PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation), is_train=False
    )
    pixels = torch.from_numpy(ours.pixels(image)[None].copy())
    assert torch.equal(normalise(pixels, ours)[0], theirs(image))


@settings(max_examples=60)
@given(SIDES, SIDES, st.sampled_from(["center", "squash"]), st.sampled_from([0.875, 0.9, 1.0]))
def test_inputs_equal_those_of_timm_bit_by_bit(width, height, mode, crop_pct):
    from timm.data import create_transform

    rng = np.random.default_rng([width, height])
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    theirs = create_transform(
        (3, 32, 32),
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_pct=crop_pct,
        crop_mode=mode,
    )
    resize_mode = {"center": "shortest", "squash": "squash"}[mode]
    half = (0.5, 0.5, 0.5)
    ours = Geometry(32, resize_mode, int(32 / crop_pct), "bicubic", half, half, 16, (2, 2))
    pixels = torch.from_numpy(ours.pixels(image)[None].copy())
    assert torch.equal(normalise(pixels, ours)[0], theirs(image))


def test_the_crop_box_is_the_part_that_the_model_sees():
    assert geometry(size=32).crop(64, 32) == (16.0, 0.0, 48.0, 32.0)
    assert geometry(size=32).crop(100, 200) == (0.0, 50.0, 100.0, 150.0)
    assert geometry("squash").crop(100, 50) == (0.0, 0.0, 100.0, 50.0)
    assert geometry("longest").crop(64, 32) == (0.0, -16.0, 64.0, 48.0)
    assert geometry(size=28, resize=32).crop(32, 32) == (2.0, 2.0, 30.0, 30.0)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_the_view_shows_the_pixels_of_the_input(mode):
    image = quarters(90, 40).resize((900, 400))
    ours = geometry(mode, 64)
    seen = np.asarray(ours.pixels(image)).astype(float)
    shown = np.asarray(ours.view(image, 64)).astype(float)
    assert np.abs(seen - shown).mean() < 4


def test_geometry_survives_its_summary():
    import json

    ours = geometry("squash")
    assert Geometry.from_summary(json.loads(json.dumps(ours.summary()))) == ours


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        b"%PDF-1.4\n",
        b"\xd7\xcd\xc6\x9a" + bytes(40),
    ],
)
def test_a_file_of_a_format_that_is_not_listed_starts_no_program(data, monkeypatch):
    def started(*arguments, **more):
        raise AssertionError(f"a program was started: {arguments}")

    for name in ("Popen", "run", "check_call", "check_output"):
        monkeypatch.setattr(f"subprocess.{name}", started)
    with pytest.raises(BadImage):
        open_rgb(data)


def test_every_listed_extension_is_of_a_format_that_is_tried():
    Image.init()
    known = {name for ending, name in Image.EXTENSION.items() if ending in EXTENSIONS}
    assert known <= set(PILLOW)


def png_of(bits, kind, row, transparent):
    """A PNG of one row, with a transparent colour."""

    def chunk(name, data):
        held = struct.pack(">I", len(data)) + name + data
        return held + struct.pack(">I", zlib.crc32(name + data))

    samples = 3 if kind == 2 else 1
    width = len(row) * 8 // (bits * samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    rest = chunk(b"tRNS", transparent) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + rest + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "kind", "row", "transparent", "other"),
    [
        (2, 0, bytes([0b10011001]), 2, 85),
        (4, 0, bytes([0x91]), 9, 17),
        (8, 0, bytes([9, 1]), 9, 1),
        (16, 0, struct.pack(">2H", 30000, 257), 30000, 1),
        (16, 2, struct.pack(">6H", *[30000] * 3, *[257] * 3), 30000, 1),
    ],
)
def test_the_transparent_colour_of_a_png_is_white_at_any_depth(bits, kind, row, transparent, other):
    colour = struct.pack(">H", transparent) * (3 if kind == 2 else 1)
    image = np.asarray(open_rgb(png_of(bits, kind, row, colour)))
    assert image[0, 0].tolist() == [255] * 3
    assert image[0, 1].tolist() == [other] * 3


def tiff_of(values, *, black_is_zero=True, more=()):
    """An uncompressed TIFF of gray numbers of any type, with more tags."""
    data, (height, width) = values.tobytes(), values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = [
        *[(256, width), (257, height), (258, values.itemsize * 8), (259, 1)],
        *[(262, int(black_is_zero)), (273, 8), (277, 1), (278, height), (279, len(data))],
        *[(339, kind), *more],
    ]
    tags.sort()
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return start + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("kind", "value", "black"), [(np.uint8, 100, 155), (np.uint16, 25700, 155)]
)
def test_gray_whose_zero_is_white_is_inverted_at_any_depth(kind, value, black):
    data = tiff_of(np.full((4, 4), value, kind), black_is_zero=False)
    assert np.asarray(open_rgb(data))[0, 0].tolist() == [155] * 3
    assert np.asarray(open_rgb(tiff_of(np.full((4, 4), value, kind))))[0, 0].tolist() == [100] * 3


def test_the_range_of_gray_whose_zero_is_white_is_that_of_its_numbers():
    data = tiff_of(np.full((4, 4), 1000, np.uint16), black_is_zero=False)
    assert np.asarray(open_rgb(data, gray_range=(0, 4000)))[0, 0, 0] == 255 - 64


def test_numbers_of_a_tiff_are_never_taken_for_others():
    with pytest.raises(BadImage, match="signed 8-bit numbers"):
        open_rgb(tiff_of(np.full((4, 4), -100, np.int8)))
    large = tiff_of(np.full((4, 4), 3_000_000_000, np.uint32))
    with pytest.raises(BadImage, match="from 3e"):
        open_rgb(large)
    assert np.asarray(open_rgb(large, gray_range=(0, 4e9)))[0, 0, 0] == 191


@pytest.mark.parametrize(
    ("values", "black_is_zero", "more"),
    [
        (np.full((4, 4), 25700, np.uint16), True, []),
        (np.full((4, 4), 100, np.uint8), False, []),
        (np.full((4, 4), 100, np.uint8), True, [(266, 2)]),
    ],
)
def test_planes_that_pillow_reads_wrongly_are_refused(values, black_is_zero, more):
    assert open_rgb(tiff_of(values, black_is_zero=black_is_zero, more=more))
    planes = [*more, (284, 2)]
    with pytest.raises(BadImage, match="save it with PlanarConfiguration 1"):
        open_rgb(tiff_of(values, black_is_zero=black_is_zero, more=planes))


def test_planes_of_8_bits_are_read():
    data = tiff_of(np.full((4, 4), 100, np.uint8), more=[(284, 2)])
    assert np.asarray(open_rgb(data))[0, 0].tolist() == [100] * 3


def test_a_palette_of_8_bits_in_a_tiff_is_not_taken_for_black():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    data = encoded(image, "TIFF")
    assert open_rgb(data).getpixel((0, 0)) == (200, 100, 50)
    # As old programs write it: each colour in the lower half of its number.
    for value in (200, 100, 50):
        data = data.replace(struct.pack("<H", value * 256), struct.pack("<H", value))
    with pytest.raises(BadImage, match="palette has colours of 8 bits"):
        open_rgb(data)


def write_floats(values, order, compressed=False, white_is_zero=False, strips=2, orientation=1):
    """A TIFF of floats, as programs for numbers write it."""
    data = values.astype(f"{order}f{values.itemsize}")
    parts = [part.tobytes() for part in np.array_split(data, strips)]
    parts = [zlib.compress(part) if compressed else part for part in parts]
    rows = -(-len(values) // strips)
    start = 8
    places = []
    for part in parts:
        places.append(start)
        start += len(part)
    tags = [
        (256, 4, [values.shape[1]]),
        (257, 4, [values.shape[0]]),
        (258, 3, [8 * values.itemsize]),
        (259, 3, [8 if compressed else 1]),
        (262, 3, [0 if white_is_zero else 1]),
        (273, 4, places),
        (274, 3, [orientation]),
        (277, 3, [1]),
        (278, 4, [rows]),
        (279, 4, [len(part) for part in parts]),
        (339, 3, [3]),
    ]
    body, after = b"", start + 2 + 12 * len(tags) + 4
    more = b""
    for number, kind, held in tags:
        packed = b"".join(struct.pack(f"{order}{'H' if kind == 3 else 'I'}", v) for v in held)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", after + len(more))
            more += packed
            packed = place
        body += struct.pack(f"{order}HHI", number, kind, len(held)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    count = struct.pack(f"{order}H", len(tags))
    return head + b"".join(parts) + count + body + b"\0\0\0\0" + more


RAMP = np.linspace(0, 1, 48).reshape(8, 6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_gray_tiffs_of_floats_of_every_size_show_their_values(
    dtype, order, compressed, white_is_zero
):
    values = RAMP.astype(dtype)
    found = decode(write_floats(values, order, compressed, white_is_zero))
    wide = values.astype(np.float32 if dtype == np.float16 else dtype)
    gray = np.round(wide * 255).astype(np.uint8)
    gray = 255 - gray if white_is_zero else gray
    assert np.array_equal(np.asarray(found.image), np.repeat(gray[..., None], 3, 2))
    assert found.depth.white == 1


def test_floats_of_16_and_64_bits_are_turned_scaled_and_refused_like_others():
    turned = decode(write_floats(RAMP, "<", orientation=6)).image
    assert turned.size == (8, 6)
    scaled = decode(write_floats(RAMP * 4095, "<"), gray_range=(0, 4095)).image
    assert np.array_equal(np.asarray(scaled), np.asarray(decode(write_floats(RAMP, "<")).image))
    for data, reason in (
        (write_floats(RAMP * 2, "<"), "gray of 64-bit floats from 0 to 2, outside"),
        (write_floats((RAMP * np.nan).astype(np.float16), "<"), "gray of 16-bit floats with NaN"),
        (write_floats(RAMP, "<").replace(b"\x53\x01\3", b"\x51\x01\3"), "unsupported TIFF"),
        (b"II*\0", "unsupported TIFF"),
    ):
        with pytest.raises(BadImage, match=reason):
            decode(data)
    lzw = write_floats(RAMP.astype(np.float32), ">").replace(
        b"\1\3\0\3\0\0\0\1\0\1", b"\1\3\0\3\0\0\0\1\0\5"
    )
    with pytest.raises(BadImage, match="compressed TIFF of big-endian floats"):
        decode(lzw)
    with pytest.raises(BadImage, match="8 pixels are more than max_pixels"):
        decode(write_floats(RAMP, "<"), max_pixels=40)
    cut = write_floats(RAMP, "<", compressed=True).replace(b"\x78\x9c", b"\0\0")
    with pytest.raises(BadImage, match="damaged TIFF"):
        decode(cut)
