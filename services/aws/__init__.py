"""Tenant-scoped credentials on AWS: one client serves all tenants, each call is signed for its own."""
