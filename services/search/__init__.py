"""E-mail events of each tenant: ingest, search and analytics."""
