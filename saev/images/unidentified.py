"""Why Pillow can't identify a file."""


def why_unidentified(data: bytes) -> str:
    """Why Pillow can't identify a file, judged by its first bytes."""
    text = data[:512].lstrip().lower()
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    kinds = {
        "DICOM": data[128:132] == b"DICM",
        "HEIC": brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"),
        "camera raw (CR3)": brand == b"crx ",
        "camera raw (RAF)": data.startswith(b"FUJIFILMCCD-RAW"),
        "camera raw (RW2)": data.startswith(b"IIU\0"),
        "camera raw (ORF)": data[:4] in (b"IIRO", b"IIRS", b"MMOR"),
        "JPEG XL": data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")),
        "SVG": text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text),
        "HTML": text.startswith((b"<!doctype html", b"<html")),
        "PDF": data.startswith(b"%PDF"),
        "OpenEXR": data.startswith(b"\x76\x2f\x31\x01"),
    }
    for name, found in kinds.items():
        if found:
            return f"is {name}, which can't be read: convert it to PNG, TIFF or JPEG"
    if data.startswith(b"version https://git-lfs.github.com/"):
        return "is a pointer of Git LFS and not the image: fetch it with git lfs pull"
    starts: dict[str, bytes | tuple[bytes, ...]] = {
        "JPEG": b"\xff\xd8",
        "PNG": b"\x89PNG",
        "GIF": b"GIF8",
        "TIFF": (b"II*\0", b"MM\0*"),
        "WebP": b"RIFF",
        "BMP": b"BM",
    }
    for name, start in starts.items():
        if data.startswith(start):
            return f"damaged or unsupported {name}: its header can't be read"
    return "not a picture of a known format"
