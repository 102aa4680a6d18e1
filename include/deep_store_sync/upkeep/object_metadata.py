"""What an archive in the deep store says of itself, read without fetching more of it than needed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from deep_store_sync.errors import ArchiveError
from deep_store_sync.segment.archive import read_metadata
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo

# The archives that this product writes have their small files first. Pinot's have them anywhere.
_START = 2 * 1024**2


def read_object_metadata(store: DeepStore, found: ObjectInfo, segment: str, folder: Path) -> tuple[CreationMeta, bytes]:
    """`creation.meta` and `metadata.properties` of an object: of its first 2 MiB, and if they are not there, of all.

    What is fetched is in `folder` for a moment.

    Raises:
        ArchiveError: it is no archive of this segment, or damaged.
        ObjectChangedError: it is not the object that was found any more.
        DeepStoreError: it cannot be read.
    """
    with TemporaryDirectory(dir=folder) as own:
        archive = Path(own) / "segment.tar"
        if found.size > _START:
            store.download(found.url, archive, if_match=found.etag, first_bytes=_START)
            try:
                return _read(archive, segment)
            except ArchiveError:
                pass  # whether it is more than cut off shows the whole of it
        store.download(found.url, archive, if_match=found.etag)
        return _read(archive, segment)


def _read(archive: Path, segment: str) -> tuple[CreationMeta, bytes]:
    creation_meta, properties = read_metadata(archive, segment)
    return CreationMeta.from_bytes(creation_meta), properties
