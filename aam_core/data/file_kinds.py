"""What a file is that is not what it should be, by how it begins."""

import zipfile
from pathlib import Path

from aam_core.errors import InputError

GZIP, BZIP2, HDF5 = b"\x1f\x8b", b"BZh", b"\x89HDF"
ZIP = b"PK\x03\x04"
#: How files begin: what they are, and what to do.
KINDS = {
    GZIP: ("compressed with gzip", "Unpack it: gunzip --keep {path}"),
    BZIP2: ("compressed with bzip2", "Unpack it: bunzip2 --keep {path}"),
    b"\xfd7zXZ": ("compressed with xz", "Unpack it: unxz --keep {path}"),
    HDF5: (
        "an HDF5 file, as BIOM tables and some matrices are",
        "Name the file of text instead.",
    ),
    b"%PDF": ("a PDF", "Name the file of text instead."),
    b"\xff\xfe": ("text in UTF-16", "Save it as UTF-8."),
    b"\xfe\xff": ("text in UTF-16", "Save it as UTF-8."),
    b"\xd0\xcf\x11\xe0": (
        "a spreadsheet (.xls)",
        "Save it as tab-separated text from the spreadsheet program.",
    ),
}
ARTIFACT = (
    "a QIIME 2 artifact",
    "Export it: qiime tools export --input-path {path} --output-path exported",
)
ARCHIVE = (
    "a zip archive, as spreadsheets (.xlsx) are",
    "Unpack it, or save it as tab-separated text from the spreadsheet program.",
)
#: Files that an artifact of QIIME 2 has in the folder of its name.
MARK = "VERSION"


def check_kind(path: Path, what: str, *known: bytes) -> None:
    """Raise `InputError` if a file is of a kind that is no text.

    Parameters
    ----------
    path : Path
        A file.
    what : str
        What it should be, for the message.
    *known : bytes
        Beginnings that the reader understands beside text.

    Raises
    ------
    InputError
        That says what it is, and what to do.
    """
    with path.open("rb") as handle:
        head = handle.read(8)
    if head.startswith(known):
        return
    found = next(
        (kind for start, kind in KINDS.items() if head.startswith(start)), None
    )
    if head.startswith(ZIP):
        found = ARTIFACT if _is_artifact(path) else ARCHIVE
    if found is not None:
        kind, remedy = found
        raise InputError(f"{path} is {kind}, not {what}. {remedy.format(path=path)}")


def _is_artifact(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return any(name.count("/") == 1 and name.endswith(f"/{MARK}") for name in names)
