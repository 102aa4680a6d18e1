"""What a segment is made of, on disk: its archive, its files, what a rebuild did to it."""
