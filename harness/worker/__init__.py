"""All that runs in a worker's process, and nothing else.

It imports the ground, `harness.experiment` and `networks`. No other room imports it.
"""
