"""All code that runs in a worker's process, and no other.

It imports the ground, `harness.experiment` and `networks`. No other folder imports it.
"""
