"""One file for each command. It imports every folder but `harness.worker`."""
