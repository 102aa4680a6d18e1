"""What a run came to in numbers, as its report keeps them: in the metadata of the file, to be read without its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

_KEY = "totals"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many segments, and the bytes of their objects."""

    segments: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunTotals:
    """The numbers of a run.

    `counts` is by outcome, `states` by `SegmentState`, after the run and over what it looked at; bytes there are those
    of the objects as the plan saw them. `quiet` and `refreshed` segments were published in these ways. Workers
    downloaded `downloaded_bytes` from the deep store and uploaded `uploaded_bytes` to it; `server_downloads` were asked
    for, of `server_bytes`. `saved_downloads`: of what was published quietly, the downloads that its replicas would have
    made had it been pushed under a new CRC; `saved_bytes` are the bytes of these.
    """

    counts: Mapping[str, int]
    states: Mapping[str, Amount]
    quiet: int = 0
    refreshed: int = 0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    server_downloads: int = 0
    server_bytes: int = 0
    saved_downloads: int = 0
    saved_bytes: int = 0

    def metadata(self) -> dict[str, str]:
        """The numbers for a file's metadata."""
        return {_KEY: json.dumps(asdict(self))}

    @classmethod
    def of_file(cls, metadata: Mapping[str, str]) -> RunTotals | None:
        """The numbers out of a file's metadata; None where it has none.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: they are not what `metadata` writes.
        """
        if _KEY not in metadata:
            return None
        kept = json.loads(metadata[_KEY])
        states = {state: Amount(int(of["segments"]), int(of["bytes"])) for state, of in kept.pop("states").items()}
        counts = {outcome: int(count) for outcome, count in kept.pop("counts").items()}
        numbers = {name: int(value) for name, value in kept.items() if name in cls.__dataclass_fields__}
        return cls(counts, states, **numbers)
