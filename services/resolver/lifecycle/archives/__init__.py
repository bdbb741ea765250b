"""Archives of tenants: exports and backups, and bringing them in again (docs/adr/0018-exports-and-moves.md)."""
