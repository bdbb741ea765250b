"""`silo`: the suite from a terminal, over the public stubs."""
