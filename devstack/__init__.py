"""The whole suite in one command, on embedded engines, for development."""
