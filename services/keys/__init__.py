"""The tenants' keys: the port that wraps and unwraps data keys, its adapters and its guard."""
