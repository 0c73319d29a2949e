"""Own what a file is, by its first bytes; its name decides only where they do not."""

from __future__ import annotations

import codecs
import stat
from pathlib import Path

HEAD = 512  # bytes that are looked at

# Kinds that `data.images` reads, where Pillow has the decoder.
READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
# Of these, what is left out where a picture of another kind has the same name.
SECOND = ("TIFF", "BMP", "GIF")
# Still pictures that a user may expect to work: without a twin that is read they are a problem.
OTHER = ("ICO", "JPEG 2000", "JPEG XL")
# Names that promise a picture, and the kind that they promise.
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx"), "JPEG 2000"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".gif": "GIF",
    ".ico": "ICO",
    ".jxl": "JPEG XL",
}
# Raw files of cameras, most of which begin as a TIFF does.
RAW = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef"),
    *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2"),
    *(".srf", ".srw", ".x3f"),
)
SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini", "zbthumbnail.info")
SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")

# Where a kind begins as text does; then text; then the rest, of which BM may begin a text.
LEGIBLE = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"#?RADIANCE", "Radiance picture"),
    (b"<svg", "drawing (SVG)"),
)
MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (8, b"AVI ", "video"),
    (8, b"WAVE", "sound"),
    (4, b"ftypavi", "AVIF"),
    *((4, b"ftyp" + brand, "HEIF") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypcrx", "raw picture of a camera"),
    (4, b"ftypM4A", "sound"),
    (4, b"ftyp", "video"),
    *((4, box, "video") for box in (b"moov", b"mdat", b"wide")),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (0, b"\x00\x00\x01\xba", "video"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"FUJIFILM", "raw picture of a camera"),
    *((0, start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((0, start, "raw picture of a camera") for start in (b"IIU\0", b"IIRO", b"FOVb", b"\0MRM")),
    (0, b"8BPS", "layered picture of an editor"),
    (0, b"gimp xcf", "layered picture of an editor"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR picture"),
    (0, b"DDS ", "DDS picture"),
    (0, b"PK\x03\x04", "archive"),
    (0, b"PK\x05\x06", "archive"),
    (0, b"Rar!", "archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "archive"),
    (0, b"\x1f\x8b", "archive"),
    (0, b"\0\x05\x16\x07", "file of macOS's own"),
    (0, b"bplist", "text"),
    (0, b"ID3", "sound"),
    (0, b"OggS", "sound"),
)


def kind_of(path: Path) -> str:
    """Say what a file is.

    Returns:
        One of `READ` or `OTHER`, or a few words: "text", "video", "empty file"...

    Raises:
        OSError: it cannot be read, or its link leads in a circle or nowhere.
    """
    # Not opened before it is known to be a file: a pipe would wait for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        return "neither file nor folder"
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "empty file"
    for sign, kind in LEGIBLE:
        if head.startswith(sign) or (sign == b"<svg" and sign in head):
            return kind
    if _is_text(head):
        return "text"
    for at, magic, kind in MAGIC:
        if head.startswith(magic, at):
            if kind == "HEIF" and b"avif" in head[16:64]:
                return "AVIF"
            raw = kind == "TIFF" and path.suffix.lower() in RAW
            return "raw picture of a camera" if raw else kind
    return "no picture"


def is_system(name: str, *, folder: bool) -> bool:
    """Tell by its name a file that an operating system leaves in every folder."""
    return name.lower() in (SYSTEM_FOLDERS if folder else SYSTEM)


def stem_of(name: str) -> str:
    """Take the suffix off a file's name: IMG_1.jpg, IMG_1.foo, but not a number as in scan.1."""
    stem, dot, suffix = name.rpartition(".")
    is_suffix = suffix.isalnum() and not suffix.isdigit() and len(suffix) <= 5
    return stem if stem and dot and is_suffix else name


def _is_text(head: bytes) -> bool:
    """Tell text by its letters: UTF-8, or UTF-16 with its mark."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        # The end may have cut a letter in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\r\n\f\v\ufeff" for letter in text)
