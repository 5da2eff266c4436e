"""One file for each command.

It imports the ground and every folder of the harness but the worker's: `harness.experiment`, `harness.results`,
`harness.execute`, `harness.analysis`, `harness.plots` and `harness.report`. It also imports `networks`,
`networks.chain`, `networks.checks`, `networks.layer_lists`, `networks.planning`, `networks.schedules` and
`networks.wording`.
"""
