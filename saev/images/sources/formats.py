"""Formats of images, by extension."""

# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp",
    ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".j2c",
    ".ico", ".icns", ".tga", ".pcx", ".psd", ".qoi", ".sgi", ".dds",
))
# fmt: on
"""Extensions of images that Pillow reads, in lower case."""

PILLOW = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000"),
    *("ICO", "ICNS", "TGA", "PCX", "PSD", "QOI", "SGI", "DDS"),
)
"""What Pillow calls them. No other is tried: some (PostScript) start a program."""

RAW = (
    *(".nef", ".cr2", ".cr3", ".crw", ".arw", ".dng"),
    *(".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"),
)
FOREIGN = {
    **dict.fromkeys(RAW, "camera raw"),
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".nii": "NIfTI",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".jxl": "JPEG XL",
    ".svg": "SVG",
    ".svgz": "SVG",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
}
"""Formats of images that Pillow doesn't read, by extension."""
