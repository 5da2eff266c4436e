"""One training step of each framework behind one protocol.

It imports `harness.worker.probes`, `harness.experiment` and `networks`.
"""
