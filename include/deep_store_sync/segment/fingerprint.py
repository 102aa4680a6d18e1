"""A segment's folder at one moment: its metadata, and digests of all that its files hold.

Preprocessing changes a segment in place, so what it was is kept as a digest of every (column, index) buffer in
`columns.psf`, and of every file beside it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import SegmentError
from deep_store_sync.segment.segment_files import (
    COLUMNS_FILE,
    CREATION_META,
    INDEX_MAP,
    METADATA_PROPERTIES,
    SegmentLayout,
    files_dir,
    read_creation_meta,
    read_index_map,
    read_layout,
)

_CHUNK = 1 << 20

# A digest is a GMAC of 128 bits: for a key that nobody knows in advance, contents of n bytes that are not the same get
# the same one with a chance of n in 2^132 at most, whatever they are. It takes a seventh of the time of SHA-256.
_KEY, _NONCE = secrets.token_bytes(16), bytes(12)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A segment's folder at one moment: its metadata, digests of its buffers and of the files beside `columns.psf`.

    Digests are to be compared within the process that took them.
    """

    layout: SegmentLayout
    creation_ms: int
    buffers: Mapping[tuple[str, str], bytes]
    files: Mapping[str, bytes]


def take_fingerprint(segment_dir: Path) -> Fingerprint:
    """The segment's folder as it is now.

    Raises:
        SegmentError: it is damaged, or in a format before v3.
    """
    layout = read_layout(segment_dir)
    if layout.version != "v3":
        raise SegmentError(
            f"{layout.name} is in segment format {layout.version}, and only v3 can be verified: re-ingest it with a "
            "current Pinot"
        )
    folder = files_dir(segment_dir)
    with (folder / COLUMNS_FILE).open("rb") as columns:
        buffers = {}
        for key, at in read_index_map(segment_dir).items():
            columns.seek(at.offset)
            buffers[key] = _digest(columns.readinto, at.size)
    files = {}
    own = {folder / name for name in (COLUMNS_FILE, CREATION_META, INDEX_MAP, METADATA_PROPERTIES)}
    for path in sorted(segment_dir.rglob("*")):
        if path.is_file() and path not in own:
            base = folder if path.is_relative_to(folder) else segment_dir
            with path.open("rb") as file:
                files[path.relative_to(base).as_posix()] = _digest(file.readinto, path.stat().st_size)
    return Fingerprint(layout, read_creation_meta(segment_dir).creation_ms, buffers, files)


def _digest(readinto: Callable[[memoryview], int], size: int) -> bytes:
    digest = Cipher(algorithms.AES(_KEY), modes.GCM(_NONCE)).encryptor()
    chunk = memoryview(bytearray(min(size, _CHUNK)))
    left = size
    while left > 0:
        count = readinto(chunk[: min(left, len(chunk))])
        if not count:
            raise SegmentError("a file of the segment ended before its end: it was changed while it was read")
        checkpoint()
        digest.authenticate_additional_data(chunk[:count])
        left -= count
    digest.finalize()
    return size.to_bytes(8, "big") + digest.tag
