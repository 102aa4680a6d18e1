"""Planning over Arrow columns: cost grows with the table, and what is kept of a segment is some hundred bytes."""
