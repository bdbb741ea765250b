"""Durable operations on tenants, and the kinds of them."""
