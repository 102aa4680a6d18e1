"""`python -m deep_store_sync.command`, where the script is not installed."""

import sys

from deep_store_sync.command.main import main

if __name__ == "__main__":
    sys.exit(main())
