"""Segments the way Pinot's RefreshSegmentTask does it: all rows read and written anew, packed by Pinot's tar and gzip.

Without the calls to the controller. Pinot 1.5.1: RefreshSegmentTaskExecutor, BaseSingleSegmentConversionExecutor.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import jpype
from tests.benchmarks.job import Job, perform

from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.jars import read_jars


def work(job: Job) -> dict[str, Any]:
    SegmentEngine.start(read_jars(Path(job.jars), job.jars), 4 << 30).attach()
    client = job.client()
    seconds, cpu_seconds = [], []
    for segment in job.segments:
        started, cpu_started = time.monotonic(), time.process_time()
        folder = Path(job.workdir) / segment
        (folder / "out").mkdir(parents=True)
        client.download_file(job.gateway.bucket, job.key(segment), str(folder / "in.tar.gz"))
        refresh(folder, segment, job)
        client.upload_file(str(folder / "out.tar.gz"), job.gateway.bucket, f"{job.prefix}/theirs/{segment}")
        seconds.append(time.monotonic() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
        size = (folder / "out.tar.gz").stat().st_size
        shutil.rmtree(folder)
    return {"segments_s": seconds, "segments_cpu_s": cpu_seconds, "staged_mb": size / 1e6}


def refresh(folder: Path, segment: str, job: Job) -> None:
    load = jpype.JClass
    file, local = load("java.io.File"), "org.apache.pinot.segment.local.segment"
    tar = load("org.apache.pinot.common.utils.TarCompressionUtils")
    index_dir = tar.untar(file(str(folder / "in.tar.gz")), file(str(folder))).get(0)
    config = load("org.apache.pinot.spi.utils.JsonUtils").stringToObject(
        json.dumps(job.config), load("org.apache.pinot.spi.config.table.TableConfig")
    )
    config.getIndexingConfig().setCreateInvertedIndexDuringSegmentGeneration(True)
    metadata = load("org.apache.pinot.segment.spi.index.metadata.SegmentMetadataImpl")(index_dir)
    settings = load("org.apache.pinot.segment.spi.creator.SegmentGeneratorConfig")(
        config, load("org.apache.pinot.spi.data.Schema").fromString(json.dumps(job.schema))
    )
    settings.setOutDir(str(folder / "out"))
    settings.setSegmentName(segment)
    settings.setCreationTime(str(metadata.getIndexCreationTime()))
    settings.setTimeColumnName("ts")
    settings.setStartTime(str(metadata.getStartTime()))
    settings.setEndTime(str(metadata.getEndTime()))
    settings.setSegmentTimeUnit(metadata.getTimeUnit())
    reader = load(f"{local}.readers.PinotSegmentRecordReader")()
    reader.init(index_dir, None, None)
    driver = load(f"{local}.creator.impl.SegmentIndexCreationDriverImpl")()
    driver.init(settings, reader)
    driver.build()
    reader.close()
    tar.createCompressedTarFile(file(str(folder / "out" / segment)), file(str(folder / "out.tar.gz")))


if __name__ == "__main__":
    perform(work)
