"""What the embedded engines share: SQLite behind one writer and bounded readers."""
