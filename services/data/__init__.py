"""Data: the entities of the EmailPlatform table."""
