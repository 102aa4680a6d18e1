"""An embedded, real Apache Pinot cluster with an S3 deep store and a sample table, for the demo and the tests."""

from pinot_sandbox.errors import SandboxError
from pinot_sandbox.gateway import S3Gateway
from pinot_sandbox.sandbox import Downloads, Sandbox, ServerStart
from pinot_sandbox.toolchain import ensure_jars

__all__ = ["Downloads", "S3Gateway", "Sandbox", "SandboxError", "ServerStart", "ensure_jars"]
