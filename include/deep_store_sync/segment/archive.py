"""The archive of a segment: one compressed tar whose only top folder is the segment's name.

Pinot writes gzip by default, zstd or lz4 where the cluster is set so, and recognises them by content (Pinot 1.5.1,
TarCompressionUtils); so does this module, and it writes back what it read. Everything is streamed: memory does not grow
with the segment.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

import lz4.frame
import zstandard
from isal import igzip, isal_zlib

from deep_store_sync.checkpoint import CheckedFile
from deep_store_sync.errors import ArchiveError
from deep_store_sync.segment.segment_files import (
    COLUMNS_FILE,
    CREATION_META,
    METADATA_PROPERTIES,
    CreationMeta,
    files_dir,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 20

# An archive may be anybody's. A segment has a few files and, for Lucene, some dozens to a column; the two files of
# metadata are read into memory, as are the headers of long names.
_MOST_MEMBERS = 1_000_000
_LARGEST_METADATA = 256 << 20
_LARGEST_HEADER = 1 << 20
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)

# What the libraries raise for damaged data: lz4 plain RuntimeErrors, and isal an error that its type stubs hide.
_DAMAGED: tuple[type[Exception], ...] = (
    tarfile.TarError,
    EOFError,
    cast(type[Exception], isal_zlib.error),
    igzip.BadGzipFile,
    zstandard.ZstdError,
    RuntimeError,
)
# igzip's own default: on segments it packs to within a few percent of what Java's gzip makes of them, in a twentieth of
# the time.
_GZIP_LEVEL = 2
_ZSTD_LEVEL = 3  # what Pinot's own writer takes


class Compression(StrEnum):
    """How an archive is compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"
    LZ4 = "lz4"


_MAGIC = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD, b"\x04\x22\x4d\x18": Compression.LZ4}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A segment's folder, how its archive was compressed, and the bytes of its files."""

    dir: Path
    compression: Compression
    size_bytes: int


def detect(archive: Path) -> Compression:
    """How an archive is compressed, by its first bytes.

    Raises:
        ArchiveError: it is none of gzip, zstd and lz4.
    """
    with archive.open("rb") as file:
        start = file.read(4)
    for magic, compression in _MAGIC.items():
        if start.startswith(magic):
            return compression
    what = "is empty" if not start else f"starts with the bytes {start.hex(' ')}"
    raise ArchiveError(
        f"the object {what}: it is no segment archive (gzip, zstd or lz4); look at it before anything else"
    )


def unpack(archive: Path, into: Path, segment: str, *, most_bytes: int | None = None) -> Unpacked:
    """Unpack a segment's archive into `into`, and read it to its end, so that a damaged one is noticed.

    `most_bytes` is what its files may take together; a small archive may hold very large ones.

    Raises:
        ArchiveError: it is cut off, damaged, no tar, not this segment's, holds a link, a device or a path outside its
            folder, or more than may be unpacked.
    """
    compression = detect(archive)
    size = 0
    with _members(archive, compression, segment) as members:
        for path, member, tar in members:
            target = into / path
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            size += member.size
            if most_bytes is not None and size > most_bytes:
                raise ArchiveError(
                    f"the archive has {archive.stat().st_size} bytes, and its files more than {most_bytes}, which is "
                    "all that they may take: raise engine.disk if it is a segment at all"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as file:
                    _copy(tar, member, file)
            except FileExistsError:
                raise ArchiveError(f"the archive holds {path} twice; look at it before anything else") from None
    segment_dir = into / segment
    for name in (CREATION_META, METADATA_PROPERTIES):
        if not (files_dir(segment_dir) / name).is_file():
            raise ArchiveError(
                f"the archive holds no {name}: not a segment, or one that was cut off when it was packed"
            )
    return Unpacked(segment_dir, compression, size)


def read_metadata(archive: Path, segment: str) -> tuple[bytes, bytes]:
    """`creation.meta` and `metadata.properties` of an archive, those of format v3 before older ones.

    Raises:
        ArchiveError: as `unpack`, as far as the archive had to be read.
    """
    found: dict[str, bytes] = {}
    wanted = {f"{segment}/v3/{name}" for name in (CREATION_META, METADATA_PROPERTIES)}
    with _members(archive, detect(archive), segment, to_the_end=False) as members:
        for path, member, tar in members:
            if path.name in (CREATION_META, METADATA_PROPERTIES) and member.isfile():
                if member.size > _LARGEST_METADATA:
                    raise ArchiveError(f"the archive's {path} has {member.size} bytes: this is no segment's metadata")
                content = io.BytesIO()
                _copy(tar, member, content)
                found[str(path)] = content.getvalue()
                if wanted <= found.keys():
                    break
    contents = []
    for name in (CREATION_META, METADATA_PROPERTIES):
        data = found.get(f"{segment}/v3/{name}", found.get(f"{segment}/{name}"))
        if data is None:
            raise ArchiveError(
                f"the archive holds no {name}: not a segment, or one that was cut off when it was packed"
            )
        contents.append(data)
    return contents[0], contents[1]


def archived_segment(archive: Path) -> str:
    """The name of the segment in an archive: that of its top folder.

    Raises:
        ArchiveError: it is no archive, or empty.
    """
    with _members(archive, detect(archive), None, to_the_end=False) as members:
        for path, _, _ in members:
            return path.parts[0]
    raise ArchiveError("the archive is empty: it holds no segment")


def pack(segment_dir: Path, archive: Path, compression: Compression) -> int:
    """Pack a segment's folder, named after the segment; returns the archive's size in bytes.

    The same files give the same bytes. The small files come first, so that readers of the metadata need not go through
    the rest.
    """
    paths = sorted(segment_dir.rglob("*"), key=lambda path: (path.is_file(), path.name == COLUMNS_FILE, path))
    with _writer(archive, compression) as tar:
        tar.addfile(_entry(segment_dir.name, directory=True))
        for path in paths:
            name = str(PurePosixPath(segment_dir.name, *path.relative_to(segment_dir).parts))
            if path.is_dir():
                tar.addfile(_entry(name, directory=True))
            else:
                with CheckedFile(path) as file:
                    tar.addfile(_entry(name, path.stat().st_size), file)
    return archive.stat().st_size


def rewrite_creation_meta(archive: Path, target: Path, meta: CreationMeta) -> int:
    """Write an archive again with another `creation.meta`, as a stream; returns the size in bytes.

    Raises:
        ArchiveError: as `unpack`.
    """
    compression = detect(archive)
    with _members(archive, compression, None) as members, _writer(target, compression) as out:
        for path, member, tar in members:
            if member.isdir():
                out.addfile(_entry(str(path), directory=True))
            elif path.name == CREATION_META:
                data = meta.to_bytes()
                out.addfile(_entry(str(path), len(data)), io.BytesIO(data))
            else:
                out.addfile(_entry(str(path), member.size), tar.extractfile(member))
    return target.stat().st_size


def metadata_archive(segment: str, creation_meta: bytes, metadata_properties: bytes) -> bytes:
    """The small tar.gz of a metadata push: both files in the segment's folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in ((CREATION_META, creation_meta), (METADATA_PROPERTIES, metadata_properties)):
            tar.addfile(_entry(f"{segment}/{name}", len(data)), io.BytesIO(data))
    return igzip.compress(buffer.getvalue(), compresslevel=_GZIP_LEVEL, mtime=0)


def _entry(name: str, size: int = 0, *, directory: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o755 if directory else 0o644
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    return entry


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: IO[bytes]) -> None:
    source = tar.extractfile(member)
    if source is None:  # only for what is neither file nor link
        raise ArchiveError(f"the archive's {member.name} is no file")
    copied = 0
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        copied += len(chunk)
    if copied != member.size:
        raise ArchiveError(f"the archive ends within {member.name}: it was cut off")


@contextmanager
def _members(
    archive: Path, compression: Compression, segment: str | None, *, to_the_end: bool = True
) -> Iterator[Iterator[tuple[PurePosixPath, tarfile.TarInfo, tarfile.TarFile]]]:
    """The members of an archive in their order, checked; whatever is wrong with it comes out as an ArchiveError."""
    try:
        with (
            _reader(archive, compression) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK, tarinfo=_Member) as tar,
        ):
            yield _checked(tar, segment)
            if to_the_end:
                while stream.read(_CHUNK):  # the checksum comes last
                    pass
    except _DAMAGED as error:
        raise ArchiveError(
            f"the {compression.value} archive is cut off or damaged ({error}); re-ingest the segment, or bring "
            "the object back from a backup"
        ) from error


def _checked(
    tar: tarfile.TarFile, segment: str | None
) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo, tarfile.TarFile]]:
    for count, member in enumerate(tar):
        if count > _MOST_MEMBERS:
            raise ArchiveError(f"the archive holds more than {_MOST_MEMBERS} files: this is no segment")
        tar.members.clear()  # type: ignore[attr-defined]  # of which it would keep all
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ArchiveError(f"the archive holds {member.name!r}, a path outside the segment's folder")
        if not (member.isreg() or member.isdir()):
            raise ArchiveError(f"the archive holds {member.name!r}, which is neither file nor folder")
        if not path.parts:
            continue  # `./` itself
        if segment is not None and path.parts[0] != segment:
            raise ArchiveError(f"the archive's top folder is {path.parts[0]!r}, not the segment's name {segment!r}")
        yield path, member, tar


class _Member(tarfile.TarInfo):
    """A header of an archive, refused where it asks for memory without measure."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS and member.size > _LARGEST_HEADER:
            raise ArchiveError(f"the archive has a header of {member.size} bytes: this is no segment's")
        return member


@contextmanager
def _reader(archive: Path, compression: Compression) -> Iterator[IO[bytes]]:
    with CheckedFile(archive) as file:
        if compression is Compression.GZIP:
            with cast("IO[bytes]", cast("Any", igzip).open(file, "rb")) as gzip_stream:
                yield gzip_stream
        elif compression is Compression.LZ4:
            with lz4.frame.open(file, "rb") as lz4_stream:
                yield cast("IO[bytes]", lz4_stream)
        else:
            with io.BufferedReader(_ZstdReader(file), _CHUNK) as zstd_stream:
                yield zstd_stream


@contextmanager
def _writer(archive: Path, compression: Compression) -> Iterator[tarfile.TarFile]:
    with archive.open("wb") as file:
        stream: IO[bytes]
        if compression is Compression.GZIP:
            stream = cast("IO[bytes]", cast("Any", igzip).IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0))
        elif compression is Compression.LZ4:
            stream = cast("IO[bytes]", lz4.frame.open(file, "wb", content_checksum=True))
        else:
            compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
            stream = cast("IO[bytes]", compressor.stream_writer(file, closefd=False))
        with stream, tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK) as tar:
            yield tar


class _ZstdReader(io.RawIOBase):
    """Frames one after the other. Unlike zstandard's own reader it notices that the last one is cut off."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._ready:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._file.read(_CHUNK // 8)
            if not data:
                if self._started and not self._frame.eof:
                    raise EOFError("the last zstd frame does not end")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._started = True
            self._ready = memoryview(self._frame.decompress(data))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
