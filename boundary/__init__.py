"""What makes a tenant boundary, shared by the gateway and every service.

Nothing here knows an engine, and nothing here signs: contexts are minted by the resolver alone.
"""
