"""What is done to a table beside its runs: rolling one back, verifying, unstamping, and clearing up after old ones."""
