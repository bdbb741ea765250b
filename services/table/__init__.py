"""The EmailPlatform table: its port and its adapters.

Two services keep items in the one table of the domain spec (the resolver its directory, data its
entities), so the port lives in a room of its own between them.
"""
