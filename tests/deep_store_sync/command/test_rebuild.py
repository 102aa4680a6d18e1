"""`deep-store-sync rebuild`: a segment on this machine, rebuilt by Pinot's own library, without a cluster."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import build_segment, engine, jars, rows, schema, table_config

from deep_store_sync.command.exit_codes import DONE, UNAVAILABLE, UNDONE, WRONG
from deep_store_sync.command.main import main
from deep_store_sync.segment.archive import Compression, detect, pack, unpack
from deep_store_sync.segment.segment_files import read_creation_meta, read_index_map, read_layout, write_creation_meta

INDEXED = table_config(invertedIndexColumns=["city"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment's folder, with a true CRC."""
    folder = build_segment(tmp_path_factory.mktemp("built"), "events_1", rows(200), table_config())
    write_creation_meta(folder, replace(read_creation_meta(folder), crc=engine().crc(folder)))
    return folder


@dataclass
class Shell:
    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def rebuild(
        self, source: Path, config: Any, of: Any = None, *more: str, jars_dir: Path | None = None
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        files = {"config.json": config, "schema.json": of or schema()}
        for name, content in files.items():
            (self.folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        places = ["--table-config", f"{self.folder}/config.json", "--schema", f"{self.folder}/schema.json"]
        places += ["--output", str(self.output), "--jars", str(jars_dir or jars().paths[0].parent)]
        code = main(["rebuild", str(source), *places, *more], {})
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_an_archive_comes_out_as_one_and_nothing_is_overwritten(shell: Shell, built: Path) -> None:
    archive = shell.folder / "events_1.tar.zst"
    pack(built, archive, Compression.ZSTD)
    before = archive.read_bytes()
    code, out, err = shell.rebuild(archive, INDEXED, None, "--json")
    assert code == DONE, err
    told = json.loads(out)
    assert (told["segment"], told["done"], told["why"]) == ("events_1", "preprocessed", [])
    assert told["changes"] == ["city: inverted_index added"]
    assert told["pinot"] == jars().version
    written = shell.output / "events_1.tar.zst"
    assert told["output"] == str(written)
    assert [path.name for path in shell.output.iterdir()] == [written.name]
    assert detect(written) is Compression.ZSTD
    segment = unpack(written, shell.folder, "events_1").dir
    assert ("city", "inverted_index") in read_index_map(segment)
    assert told["crc"] == read_creation_meta(built).crc
    assert told["newCrc"] == read_creation_meta(segment).crc == engine().crc(segment) != told["crc"]
    assert told["newBytes"] > told["bytes"] > 0
    assert archive.read_bytes() == before

    content = written.read_bytes()
    code, out, err = shell.rebuild(archive, INDEXED)
    assert (code, out) == (WRONG, "")
    assert "is there already, and is not overwritten" in err
    assert written.read_bytes() == content


def test_a_folder_comes_out_as_one_under_the_segments_own_name(shell: Shell, built: Path) -> None:
    source = shell.folder / "copy from a server"
    shutil.copytree(built, source)
    answer = {"OFFLINE": table_config()}  # as a controller gives it
    code, out, err = shell.rebuild(source, answer, schema(code={"dataType": "LONG"}))
    assert code == DONE, err
    assert "regenerated: values were written anew" in out
    assert "code" in next(line for line in out.splitlines() if line.strip().startswith("why"))
    assert f"{read_creation_meta(built).crc} → " in out
    assert read_layout(shell.output / "events_1").columns["code"].data_type == "LONG"
    assert read_layout(source).columns["code"].data_type == "INT"
    assert [path.name for path in shell.output.iterdir()] == ["events_1"]


def test_where_nothing_is_to_be_done_nothing_is_written(shell: Shell, built: Path) -> None:
    code, out, _ = shell.rebuild(built, table_config())
    assert code == DONE
    assert "nothing: it is as the config wants it" in out
    assert f"{read_creation_meta(built).crc}, as before" in out
    assert not shell.output.exists()


def test_what_must_not_be_rebuilt_is_refused_with_the_reason(shell: Shell, built: Path) -> None:
    config = table_config(sortedColumn=["code"], top={"dedupConfig": {"dedupEnabled": True}})
    code, out, _ = shell.rebuild(built, config, None, "--json")
    told = json.loads(out)
    assert (code, told["done"], told["output"]) == (UNDONE, "refused", None)
    assert "takes its rows in the order they were ingested" in told["why"][0]
    assert not shell.output.exists()


def test_what_would_lose_something_fails_and_leaves_nothing(shell: Shell, built: Path) -> None:
    code, out, err = shell.rebuild(built, table_config(), schema(note={"dataType": "INT"}), "--json")
    assert code == UNDONE
    assert "note" in json.loads(out)["message"]
    assert "note" in err
    assert not shell.output.exists()


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    shell: Shell, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deep_store_sync.rebuilding.local.rebuild", None)  # the work: it is not begun
    (shell.folder / "out").write_text("a file")
    code, out, err = shell.rebuild(built, INDEXED)
    assert (code, out) == (WRONG, "")
    assert f"--output {shell.output}: " in err
    assert "Not a directory; check the path" in err
    assert not list(shell.folder.glob(".*"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "config.json: cannot be read as JSON"),
        ("[]", "config.json: this is no JSON object"),
        ({"OFFLINE": {}}, "this is no table config of one table"),
        ({"OFFLINE": INDEXED, "REALTIME": INDEXED}, "this is no table config of one table"),
    ],
    ids=["no JSON", "no object", "no name", "two tables"],
)
def test_a_config_that_is_none(shell: Shell, built: Path, config: Any, says: str) -> None:
    code, _, err = shell.rebuild(built, config)
    assert code == WRONG
    assert says in err


def test_a_source_or_jars_that_are_not_there(shell: Shell, built: Path) -> None:
    code, _, err = shell.rebuild(shell.folder / "nowhere", INDEXED)
    assert (code, "there is no such folder or file" in err) == (WRONG, True)
    (shell.folder / "empty").mkdir()
    (shell.folder / "text.tar.gz").write_text("hello")
    for name in ("empty", "text.tar.gz"):
        code, out, err = shell.rebuild(shell.folder / name, INDEXED)
        assert (code, out) == (UNDONE, "")
        assert "Error: " in err
    code, _, err = shell.rebuild(built, INDEXED, jars_dir=shell.folder / "no jars")
    assert code == UNAVAILABLE
    assert "no jars (--jars) is not there" in err
