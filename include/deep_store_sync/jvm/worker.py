"""The child process that Java runs in: reads calls from its standard input and answers them, one at a time.

Started by `deep_store_sync.jvm.process`, in whose words calls and answers are: a line of JSON each. Java may write to
standard output at any time, so the answers go to a duplicate of it, and what Java writes goes to standard error.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import jpype

from deep_store_sync.errors import DeepStoreSyncError, EngineError, RebuildError
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.jars import JarSet
from deep_store_sync.jvm.regenerate import regenerate
from deep_store_sync.jvm.values import compare_values

Call = Callable[..., Any]


def main() -> None:
    """Answer calls until there are no more, or until the parent process is gone."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, calls, answers), daemon=True).start()
    known: dict[str, Call] = {"start": lambda **settings: _start(known, **settings)}
    while True:
        call = json.loads(calls.get())
        answers.write(json.dumps(_answer(known, call["call"], call["arguments"])) + "\n")
        answers.flush()


def _read(lines: IO[str], calls: queue.SimpleQueue[str], answers: IO[str]) -> None:
    for line in lines:
        if '"dump_stacks"' in line[:30]:  # not a call like others: it is about the one that is under way
            _dump_stacks()
            os.write(answers.fileno(), b"\n")
        else:
            calls.put(line)
    # The parent has closed its end, or is gone. Java may be busy for minutes yet: nobody wants what it is doing.
    os._exit(0)


def _answer(known: Mapping[str, Call], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"value": known[name](**arguments)}
    except DeepStoreSyncError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        kind = EngineError if name == "start" else RebuildError
        return {"error": kind.__name__, "message": f"{name}: {type(error).__name__}: {error}"}


def _dump_stacks() -> None:
    """What Python's and Java's threads are doing, on standard error."""
    faulthandler.dump_traceback(all_threads=True)
    if jpype.isJVMStarted():
        for entry in jpype.JClass("java.lang.Thread").getAllStackTraces().entrySet():
            thread, frames = entry.getKey(), entry.getValue()
            lines = [f"Java thread {thread.getName()}, {thread.getState()}:", *(f"  at {frame}" for frame in frames)]
            sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def _start(known: dict[str, Call], *, paths: list[str], heap_bytes: int, **jars: Any) -> None:
    engine = SegmentEngine.start(JarSet(paths=tuple(map(Path, paths)), **jars), heap_bytes)
    known["crc"] = lambda segment_dir: engine.crc(Path(segment_dir))
    known["preprocess"] = lambda segment_dir, **asked: engine.preprocess(Path(segment_dir), **asked)
    known["check_loads"] = lambda segment_dir, **asked: engine.check_loads(Path(segment_dir), **asked)
    known["regenerate"] = lambda segment_dir, out_dir, **asked: str(
        regenerate(engine, Path(segment_dir), Path(out_dir), **asked)
    )
    known["compare_values"] = lambda before, after, columns, sort_by: {
        column: asdict(rewrite)
        for column, rewrite in compare_values(engine, Path(before), Path(after), tuple(columns), tuple(sort_by)).items()
    }


if __name__ == "__main__":
    main()
