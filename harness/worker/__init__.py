"""All code that runs in a worker's process, and no other.

It imports `harness.provenance`, `harness.experiment`, `networks`, `networks.buffers`, `networks.optimizers`,
`networks.planning`, `networks.rounding`, `networks.schedules` and `networks.wording`. No other folder imports it.
"""
