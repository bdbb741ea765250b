"""The resolver: tenant directory, context minting and tenant changes."""
