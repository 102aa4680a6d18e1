"""Processes of a test's own: a JVM cannot be started twice in one, nor with other jars."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def in_a_process(script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own, as far as it gets."""
    # Of this process's environment only what a process needs, so that what the test sets is what counts.
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH", "XDG_CACHE_HOME") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
