"""The services of the suite. They never import one another; they meet in protos."""
