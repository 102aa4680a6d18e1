from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jpype
import lz4.frame
import pytest
import zstandard
from tests.deep_store_sync.pinot_segments import build_segment, engine, rows, table_config

from deep_store_sync.errors import ArchiveError
from deep_store_sync.segment.archive import (
    Compression,
    detect,
    metadata_archive,
    pack,
    read_metadata,
    rewrite_creation_meta,
    unpack,
)
from deep_store_sync.segment.segment_files import CreationMeta, read_creation_meta

NAME = "day 1+%ü"


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = table_config(fields=[{"name": "note", "encodingType": "RAW", "indexTypes": ["TEXT"]}])
    return build_segment(tmp_path_factory.mktemp("built"), NAME, rows(200), config)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("compression", Compression)
def test_what_is_packed_is_unpacked_the_same(segment: Path, tmp_path: Path, compression: Compression) -> None:
    archive = tmp_path / "object"
    assert pack(segment, archive, compression) == archive.stat().st_size
    unpacked = unpack(archive, tmp_path / "out", NAME)
    assert unpacked.dir == tmp_path / "out" / NAME
    assert unpacked.compression is compression
    assert contents(unpacked.dir) == contents(segment)
    assert unpacked.size_bytes == sum(map(len, contents(segment).values()))


@pytest.mark.parametrize("compression", Compression)
def test_same_files_give_the_same_bytes(segment: Path, tmp_path: Path, compression: Compression) -> None:
    for name in ("one", "two"):
        pack(segment, tmp_path / name, compression)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def pinot_tar() -> Any:
    engine()
    return jpype.JClass("org.apache.pinot.common.utils.TarCompressionUtils")


@pytest.mark.parametrize("compression", Compression)
def test_pinot_unpacks_what_we_pack(segment: Path, tmp_path: Path, compression: Compression) -> None:
    pack(segment, tmp_path / "object", compression)
    pinot_tar().untar(engine().file(tmp_path / "object"), engine().file(tmp_path / "out"))
    assert contents(tmp_path / "out" / NAME) == contents(segment)


@pytest.mark.parametrize(("compression", "extension"), [("gzip", ".gz"), ("zstd", ".zst"), ("lz4", ".lz4")])
def test_we_unpack_what_pinot_packs(segment: Path, tmp_path: Path, compression: str, extension: str) -> None:
    archive = tmp_path / f"object.tar{extension}"
    pinot_tar().createCompressedTarFile(engine().file(segment), engine().file(archive))
    assert detect(archive) is Compression(compression)
    assert contents(unpack(archive, tmp_path / "out", NAME).dir) == contents(segment)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99, -1, -9])
def test_archive_that_was_cut_off(segment: Path, tmp_path: Path, compression: Compression, share: float) -> None:
    archive = tmp_path / "object"
    size = pack(segment, archive, compression)
    kept = size + int(share) if share < 0 else max(5, int(size * share))
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(ArchiveError, match=r"cut off|damaged"):
        unpack(archive, tmp_path / "out", NAME)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_archive_with_a_flipped_bit(segment: Path, tmp_path: Path, compression: Compression, share: float) -> None:
    archive = tmp_path / "object"
    data = bytearray(archive.read_bytes() if pack(segment, archive, compression) else b"")
    data[int(len(data) * share)] ^= 4
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="cut off or damaged"):
        unpack(archive, tmp_path / "out", NAME)


def test_checksum_counts_where_the_tar_ends_with_the_last_chunk_read(tmp_path: Path) -> None:
    segment, archive = tmp_path / NAME, tmp_path / "object"
    segment.mkdir()
    for name in ("creation.meta", "metadata.properties"):
        (segment / name).write_bytes(b"x")
    data = bytes(5 * 2**20 - 8192)  # what remains is for headers
    (segment / "columns.psf").write_bytes(data)
    size = pack(segment, archive, Compression.GZIP)
    tar = gzip.decompress(archive.read_bytes())
    assert len(tar) == 5 * 2**20
    packed = bytearray(archive.read_bytes())
    packed[size - 8] ^= 1
    archive.write_bytes(packed)
    with pytest.raises(ArchiveError, match="cut off or damaged"):
        unpack(archive, tmp_path / "out", NAME)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04zip", b"<html>Not found</html>", b"BZh9"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "object").write_bytes(data)
    with pytest.raises(ArchiveError, match="no segment archive"):
        unpack(tmp_path / "object", tmp_path / "out", NAME)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"not a tar" * 999), zstandard.compress(b""), lz4.frame.compress(b"x" * 512)],
    ids=["gzip", "zstd", "lz4"],
)
def test_compressed_something_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "object").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"cut off or damaged|holds no creation\.meta"):
        unpack(tmp_path / "object", tmp_path / "out", NAME)


def of_members(path: Path, *members: tuple[str, Callable[[tarfile.TarInfo], None]]) -> Path:
    """A gzip archive with members of one byte, each adjusted."""
    with tarfile.open(path, "w:gz") as tar:
        for name, adjust in members:
            info = tarfile.TarInfo(name)
            info.size = 1
            adjust(info)
            tar.addfile(info, io.BytesIO(b"x") if info.isreg() else None)
    return path


def link(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def adjust(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    return adjust


def plain(_: tarfile.TarInfo) -> None:
    pass


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ((f"{NAME}/../../evil", plain), "outside the segment's folder"),
        (("/etc/evil", plain), "outside the segment's folder"),
        ((f"{NAME}/link", link(tarfile.SYMTYPE)), "neither file nor folder"),
        ((f"{NAME}/link", link(tarfile.LNKTYPE)), "neither file nor folder"),
        ((f"{NAME}/pipe", link(tarfile.FIFOTYPE)), "neither file nor folder"),
        (("another/v3/creation.meta", plain), "top folder is 'another', not the segment's name"),
        (("creation.meta", plain), "top folder is 'creation.meta'"),
    ],
)
def test_member_that_does_not_belong(tmp_path: Path, member: Any, message: str) -> None:
    archive = of_members(tmp_path / "object", (f"{NAME}/v3/metadata.properties", plain), member)
    with pytest.raises(ArchiveError, match=message):
        unpack(archive, tmp_path / "out", NAME)
    assert not (tmp_path / "evil").exists()


def test_member_that_comes_twice(tmp_path: Path) -> None:
    archive = of_members(tmp_path / "object", (f"{NAME}/a", plain), (f"{NAME}/a", plain))
    with pytest.raises(ArchiveError, match="twice"):
        unpack(archive, tmp_path / "out", NAME)


def test_archive_without_a_segment_in_it(tmp_path: Path) -> None:
    archive = of_members(tmp_path / "object", (f"./{NAME}/v3/creation.meta", plain))
    with pytest.raises(ArchiveError, match=r"holds no metadata\.properties"):
        unpack(archive, tmp_path / "out", NAME)
    with pytest.raises(ArchiveError, match=r"holds no metadata\.properties"):
        read_metadata(archive, NAME)


def test_frames_one_after_the_other(segment: Path, tmp_path: Path) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        tar.add(segment, NAME)
    half = len(whole.getvalue()) // 2
    parts = whole.getvalue()[:half], whole.getvalue()[half:]
    for compress in (gzip.compress, zstandard.compress, lz4.frame.compress):
        archive, out = tmp_path / "object", tmp_path / compress.__module__
        archive.write_bytes(b"".join(map(compress, parts)))
        assert contents(unpack(archive, out, NAME).dir) == contents(segment)


@pytest.mark.parametrize("compression", Compression)
def test_metadata_is_read_without_unpacking(segment: Path, tmp_path: Path, compression: Compression) -> None:
    pack(segment, tmp_path / "object", compression)
    expected = tuple((segment / "v3" / name).read_bytes() for name in ("creation.meta", "metadata.properties"))
    assert read_metadata(tmp_path / "object", NAME) == expected


def test_metadata_is_read_wherever_it_is(segment: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "object", "w:gz") as tar:
        for path in sorted(segment.rglob("*"), reverse=True):
            tar.add(path, f"{NAME}/{path.relative_to(segment)}", recursive=False)
    expected = tuple((segment / "v3" / name).read_bytes() for name in ("creation.meta", "metadata.properties"))
    assert read_metadata(tmp_path / "object", NAME) == expected


@pytest.mark.parametrize("compression", Compression)
def test_only_creation_meta_is_written_anew(segment: Path, tmp_path: Path, compression: Compression) -> None:
    pack(segment, tmp_path / "object", compression)
    meta = CreationMeta(1, 2, 3)
    assert rewrite_creation_meta(tmp_path / "object", tmp_path / "target", meta) == (tmp_path / "target").stat().st_size
    unpacked = unpack(tmp_path / "target", tmp_path / "out", NAME)
    assert unpacked.compression is compression
    assert read_creation_meta(unpacked.dir) == meta
    before, after = contents(segment), contents(unpacked.dir)
    assert {path for path in before if before[path] != after[path]} == {"v3/creation.meta"}
    assert before.keys() == after.keys()


def test_archive_of_a_metadata_push(tmp_path: Path) -> None:
    data = metadata_archive(NAME, b"meta", b"properties")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == {f"{NAME}/creation.meta": b"meta", f"{NAME}/metadata.properties": b"properties"}
    assert metadata_archive(NAME, b"meta", b"properties") == data


# --- archives that are meant to do harm ------------------------------------------------------------------------------


def blocks_of(header: tarfile.TarInfo, content: bytes = b"") -> bytes:
    return header.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def test_a_bomb_is_not_unpacked_further_than_it_may_be(tmp_path: Path) -> None:
    """A small archive with very many zeros in it."""
    archive = tmp_path / "object"
    zeros = tarfile.TarInfo(f"{NAME}/v3/columns.psf")
    zeros.size = 64 << 20
    with gzip.open(archive, "wb", 1) as file:
        file.write(blocks_of(zeros))
        for _ in range(64):
            file.write(bytes(zeros.size // 64))
    assert archive.stat().st_size < zeros.size / 200
    with pytest.raises(ArchiveError, match=r"its files more than 5000000, .* raise engine\.disk"):
        unpack(archive, tmp_path / "out", NAME, most_bytes=5_000_000)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 5_000_000


def test_many_files_count_together(tmp_path: Path) -> None:
    members = [(f"{NAME}/{number}", plain) for number in range(11)]
    archive = of_members(tmp_path / "object", *members)
    with pytest.raises(ArchiveError, match="more than 10"):
        unpack(archive, tmp_path / "out", NAME, most_bytes=10)


def test_a_sparse_file_counts_with_the_size_that_it_would_have(tmp_path: Path) -> None:
    """A hole of a terabyte takes no data at all."""
    header = bytearray(blocks_of(tarfile.TarInfo(f"{NAME}/v3/columns.psf")))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398], header[398:410] = b"%011o\0" % (1 << 32), b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:512]))
    archive = tmp_path / "object"
    archive.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    with pytest.raises(ArchiveError, match="more than 1000000"):
        unpack(archive, tmp_path / "out", NAME, most_bytes=1_000_000)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_asks_for_memory_without_measure(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("././@header")
    header.type, header.size = kind, 4 << 30
    archive = tmp_path / "object"
    archive.write_bytes(gzip.compress(blocks_of(header) + bytes(4096)))
    for read in (lambda: unpack(archive, tmp_path / "out", NAME), lambda: read_metadata(archive, NAME)):
        with pytest.raises(ArchiveError, match="a header of 4294967296 bytes"):
            read()


def test_metadata_that_is_none(tmp_path: Path) -> None:
    header = tarfile.TarInfo(f"{NAME}/v3/metadata.properties")
    header.size = 1 << 40
    archive = tmp_path / "object"
    archive.write_bytes(gzip.compress(blocks_of(header) + bytes(4096)))
    with pytest.raises(ArchiveError, match="1099511627776 bytes: this is no segment's metadata"):
        read_metadata(archive, NAME)


def test_files_without_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deep_store_sync.segment.archive._MOST_MEMBERS", 10)
    archive = of_members(tmp_path / "object", *[(f"{NAME}/{number}", plain) for number in range(20)])
    with pytest.raises(ArchiveError, match="more than 10 files"):
        unpack(archive, tmp_path / "out", NAME)


@pytest.mark.parametrize("name", ["..", ".", "/etc", "a/b", f"{NAME}/..", "", "a\\..\\b", "\0", "x" * 5000])
def test_odd_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    """What a segment is called comes from the controller, what is in its archive from whoever wrote that."""
    folder = tmp_path / "out"
    folder.mkdir()
    archive = of_members(tmp_path / "object", (f"{NAME}/v3/creation.meta", plain))
    with pytest.raises((ArchiveError, OSError, ValueError)):
        unpack(archive, folder, name)
    with pytest.raises((ArchiveError, OSError, ValueError)):
        unpack(of_members(tmp_path / "object", (f"{name}/v3/creation.meta", plain)), folder, name)
    assert {path.name for path in tmp_path.iterdir()} == {"object", "out"}
