"""Load drivers and peers. `python -m benchmarks` (or `make bench`) drives the running system."""
