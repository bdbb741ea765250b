"""What every call passes on its way to a handler: one ordered chain for all four call shapes."""
