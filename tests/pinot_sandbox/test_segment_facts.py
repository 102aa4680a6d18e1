"""What is read from copies of a segment, and how two configs are compared."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from pinot_sandbox.segment_facts import STAR_TREE, archive_indexes, differences, folder_indexes, indexes

INDEX_MAP = b"".join(
    f"{column}.{index}.startOffset = {8 * number}\n{column}.{index}.size = 8\n".encode()
    for number, (column, index) in enumerate(
        [
            ("origin", "dictionary"),
            ("origin", "forward_index"),
            ("origin", "inverted_index"),
            ("tailnum", "nullvalue_vector"),
            ("tailnum", "bloom_filter"),
            ("dep_delay", "range_index"),
        ]
    )
)
WORDS = {"inverted on origin", "bloom filter on tailnum", "range on dep_delay"}


def test_indexes_are_what_a_config_asks_for() -> None:
    assert indexes(INDEX_MAP, ["index_map", "columns.psf"]) == WORDS


def test_a_star_tree_is_a_file_of_its_own() -> None:
    assert indexes(INDEX_MAP, ["index_map", "star_tree_index", "star_tree_index_map"]) == WORDS | {STAR_TREE}


def test_archive_and_folder_are_read_alike(tmp_path: Path) -> None:
    folder = tmp_path / "flights_2013-01" / "v3"
    folder.mkdir(parents=True)
    (folder / "index_map").write_bytes(INDEX_MAP)
    (folder / "star_tree_index").write_bytes(b"tree")
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        archive.add(folder.parent, arcname=folder.parent.name)
    assert folder_indexes(folder.parent) == archive_indexes(body.getvalue()) == WORDS | {STAR_TREE}


def test_differences_are_by_path_old_before_new() -> None:
    before = {"a": {"same": 1, "list": ["x"], "gone": None}, "empty": {}}
    after = {"a": {"same": 1, "list": ["x", "y"], "trees": [{"leaf": 1}, {"leaf": 2}]}, "empty": {}}
    assert differences(before, after) == [
        ("-", "a.gone = null"),
        ("-", 'a.list = ["x"]'),
        ("+", 'a.list = ["x", "y"]'),
        ("+", "a.trees[0].leaf = 1"),
        ("+", "a.trees[1].leaf = 2"),
    ]
    assert differences(before, before) == []
