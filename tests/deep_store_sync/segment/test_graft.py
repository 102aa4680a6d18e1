from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.deep_store_sync.pinot_segments import build_segment, rows, schema, table_config

from deep_store_sync.checkpoint import checkpoints
from deep_store_sync.errors import SegmentError
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.data_crc import NO_DATA_CRC, compute_data_crc
from deep_store_sync.segment.graft import Graft, copy_grafted, owner
from deep_store_sync.segment.segment_files import COLUMNS_FILE, INDEX_MAP, read_creation_meta, read_index_map

ODD = "a column:of = odd\\name"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    of = schema(add=[("dimensionFieldSpecs", {"name": ODD, "dataType": "INT"})])
    data = [row | {ODD: number} for number, row in enumerate(rows(50))]
    config = table_config(varLengthDictionaryColumns=["city"], rangeIndexColumns=["code"], rangeIndexVersion=1)
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, config, of)


def buffers(segment_dir: Path) -> dict[tuple[str, str], bytes]:
    data = (segment_dir / "v3" / COLUMNS_FILE).read_bytes()
    return {key: data[at.offset : at.offset + at.size] for key, at in read_index_map(segment_dir).items()}


def test_columns_are_left_out_and_taken_from_elsewhere(built: Path, tmp_path: Path) -> None:
    other = build_segment(tmp_path / "other", "s", rows(50, seed=2), table_config())
    (built / "v3" / "code.beside").write_text("old")
    (built / "v3" / "star_tree_index").write_text("old")
    (other / "v3" / "code.beside").write_text("new")
    try:
        graft = Graft(frozenset({"code"}), frozenset({"city"}), ("star_tree",))
        copy_grafted(built, other, tmp_path / "s", graft)
    finally:
        (built / "v3" / "code.beside").unlink()
        (built / "v3" / "star_tree_index").unlink()
    was, theirs, now = buffers(built), buffers(other), buffers(tmp_path / "s")
    assert now == {key: value for key, value in was.items() if key[0] not in ("code", "city")} | {
        key: value for key, value in theirs.items() if key[0] == "code"
    }
    assert (tmp_path / "s" / "v3" / COLUMNS_FILE).stat().st_size == sum(map(len, now.values()))
    assert (tmp_path / "s" / "v3" / "code.beside").read_text() == "new"
    assert not (tmp_path / "s" / "v3" / "star_tree_index").exists()


def test_nothing_grafted_is_the_same_segment(built: Path, tmp_path: Path) -> None:
    copy_grafted(built, None, tmp_path / "s", Graft())
    assert buffers(tmp_path / "s") == buffers(built)
    assert sorted((tmp_path / "s" / "v3" / INDEX_MAP).read_bytes().splitlines()) == sorted(
        (built / "v3" / INDEX_MAP).read_bytes().splitlines()
    )


def test_segment_that_is_cut_off(built: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(built, tmp_path / "damaged"))
    with (damaged / "v3" / COLUMNS_FILE).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(SegmentError, match="cut off or damaged"):
        copy_grafted(damaged, None, tmp_path / "s", Graft())


def test_the_longest_name_owns() -> None:
    assert owner("a.b.lucene.index", {"a", "a.b", "b"}, ".") == "a.b"
    assert owner("a.lucene.index", {"a", "a.b", "b"}, ".") == "a"
    assert owner("a$$key.columnType", {"a"}, ".", "$$") == "a"
    assert owner("ab.lucene.index", {"a"}, ".") is None


def test_data_crc_is_pinots(built: Path, tmp_path: Path) -> None:
    assert compute_data_crc(built) == read_creation_meta(built).data_crc
    copy_grafted(built, None, tmp_path / "s", Graft())
    with (tmp_path / "s" / "v3" / COLUMNS_FILE).open("r+b") as file:
        file.seek(read_index_map(tmp_path / "s")["code", "forward_index"].offset + 9)
        file.write(b"\xff")
    assert compute_data_crc(tmp_path / "s") != read_creation_meta(built).data_crc


def test_no_data_crc_without_a_forward_index(built: Path, tmp_path: Path) -> None:
    copy_grafted(built, None, tmp_path / "s", Graft(left_out=frozenset({"code"})))
    assert compute_data_crc(tmp_path / "s") == NO_DATA_CRC


def test_what_buffers_say_of_themselves(built: Path) -> None:
    facts = read_buffer_facts(built)
    assert facts.indexes == read_index_map(built).keys()
    assert facts.variable_length == {"city"}
    assert facts.versions["code", "range_index"] == 1
    assert facts.versions["note", "forward_index"] >= 2


def test_data_crc_can_be_stopped(built: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with checkpoints(stop), pytest.raises(KeyboardInterrupt):
        compute_data_crc(built)


def test_copying_can_be_stopped(built: Path, tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with checkpoints(stop), pytest.raises(KeyboardInterrupt):
        copy_grafted(built, None, tmp_path / "s", Graft())
