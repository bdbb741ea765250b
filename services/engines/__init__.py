"""Which engines a deployment has: of each region the table, the bucket and the search clusters."""
