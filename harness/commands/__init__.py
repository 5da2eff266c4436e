"""One file for each command. It imports every room but `harness.worker`."""
