"""What goes wrong with the sandbox itself."""

from __future__ import annotations

from deep_store_sync.errors import DeepStoreSyncError


class SandboxError(DeepStoreSyncError):
    """The sandbox could not be set up or did not do what was asked. The message says what to install or to look at."""
