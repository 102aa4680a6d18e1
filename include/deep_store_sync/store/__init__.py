"""What talks to the object store: reading, conditional writing, and the marks on what was written."""
