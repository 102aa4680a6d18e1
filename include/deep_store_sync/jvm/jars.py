"""Where the jars of Pinot's segment library are, and of which version."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deep_store_sync.errors import EngineError

JARS_VARIABLE = "DEEP_STORE_SYNC_PINOT_JARS"

# What a rebuild needs of Pinot: the segment library, and pinot-core for reading values in bulk. A Pinot distribution
# has all in one.
_NEEDED = ("pinot-segment-local", "pinot-segment-spi", "pinot-spi", "pinot-core")
_NAME = re.compile(r"(pinot-[a-z0-9-]+?)-(\d.*?)(?:-shaded|-jar-with-dependencies)?\.jar")
_BUILD = re.compile(r"-[0-9a-f]{40}$")


@dataclass(frozen=True, slots=True)
class JarSet:
    """A class path, and the Pinot version of the jars on it.

    `source` says where they were found, for messages. `of_cluster` says that the cluster is known to run this version.
    """

    version: str
    paths: tuple[Path, ...]
    source: str
    of_cluster: bool = False


def find_jars(
    cluster_version: str | None,
    *,
    configured: Path | None = None,
    allow_mismatch: bool = False,
    environ: Mapping[str, str] | None = None,
) -> JarSet:
    """The jars to rebuild segments with.

    Looked for in this order, and the first place that is given has to hold them: the configured folder, the folder that
    DEEP_STORE_SYNC_PINOT_JARS names, PINOT_HOME (its `lib` and `plugins`), and the cache
    `~/.cache/pinot-deep-store-sync/jars/<version>-*/`.

    Args:
        cluster_version: Pinot's version on the cluster; None takes whatever is found.
        configured: the folder from the table's settings.
        allow_mismatch: take jars of another version than the cluster's.
        environ: environment variables; None means the process's own.

    Raises:
        EngineError: no jars, jars of several versions, or of another version than the cluster's.
    """
    environ = os.environ if environ is None else environ
    wanted = normalize(cluster_version) if cluster_version else None
    jars = _first(wanted, configured, environ)
    if wanted and jars.version != wanted and not allow_mismatch:
        raise EngineError(
            f"the cluster runs Pinot {wanted} and the jars in {jars.source} are of {jars.version}: segments have to "
            "be rebuilt by the library that the servers load them with. Give the jars of that version (engine.jars; "
            "docs/pinot-jars.md), or, during a rolling upgrade, set engine.allowVersionMismatch"
        )
    return replace(jars, of_cluster=jars.version == wanted)


def normalize(version: str) -> str:
    """A Pinot version without the commit that Pinot's builds append: `1.5.1-020ff0d…` is 1.5.1."""
    return _BUILD.sub("", version.strip())


def _first(wanted: str | None, configured: Path | None, environ: Mapping[str, str]) -> JarSet:
    if configured is not None:
        return read_jars(configured, f"{configured} (engine.jars)")
    if folder := environ.get(JARS_VARIABLE):
        return read_jars(Path(folder), f"{folder} ({JARS_VARIABLE})")
    if home := environ.get("PINOT_HOME"):
        # The order of Pinot's own start script: the library, then the plugins.
        return read_jars(Path(home) / "lib", f"{home} (PINOT_HOME)", plugins=Path(home) / "plugins")
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pinot-deep-store-sync" / "jars"
    folders = [path for path in cache.glob(f"{wanted or '*'}-*") if path.is_dir()]
    if not folders:
        raise EngineError(
            f"no jars of Pinot {wanted or ''} found: set engine.jars in the table's file, {JARS_VARIABLE} or "
            f"PINOT_HOME to where they are, or fill the cache {cache}. A Pinot server's or minion's image has them in "
            "/opt/pinot/lib; docs/pinot-jars.md names other ways"
        )
    newest = max(folders, key=lambda path: path.stat().st_mtime)
    return read_jars(newest, str(newest))


def read_jars(folder: Path, source: str, *, plugins: Path | None = None) -> JarSet:
    """The jars of a folder, or of a Pinot distribution whose folder was given (then those of its `lib`).

    Raises:
        EngineError: no such folder, no Pinot jars in it, some missing, or several versions.
    """
    if not any(folder.glob("*.jar")) and (folder / "lib").is_dir():
        folder, plugins = folder / "lib", folder / "plugins"
    paths = sorted(folder.glob("*.jar"))
    if not paths:
        what = "holds no jars" if folder.is_dir() else "is not there"
        raise EngineError(
            f"{source} {what}: it has to be the folder with Pinot's jars, such as /opt/pinot/lib of a Pinot image"
        )
    versions = {match[1]: normalize(match[2]) for path in paths if (match := _NAME.fullmatch(path.name))}
    version = versions.get("pinot-all") or _common_version(versions, source)
    if plugins is not None:
        paths += sorted(plugins.rglob("*.jar"))
    return JarSet(version, tuple(paths), source)


def _common_version(versions: Mapping[str, str], source: str) -> str:
    missing = [name for name in _NEEDED if name not in versions]
    if missing:
        raise EngineError(
            f"{source} holds no {', '.join(missing)}: resolve Pinot's jars with all they depend on, at one version "
            "(docs/pinot-jars.md)"
        )
    found = {versions[name] for name in _NEEDED}
    if len(found) > 1:
        listed = ", ".join(f"{name} {versions[name]}" for name in _NEEDED)
        raise EngineError(
            f"{source} holds jars of several Pinot versions ({listed}): keep those of the cluster's version only"
        )
    return found.pop()
