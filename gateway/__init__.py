"""The gateway: the edge that callers reach. It authenticates, resolves the tenant, and forwards bytes."""
