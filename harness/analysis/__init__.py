"""Analysis of tables. Pure: tables in, tables out.

It imports `harness.experiment`, `harness.sizes`, `networks`, `networks.block_chain`, `networks.chain`,
`networks.layer_lists`, `networks.planning`, `networks.schedules` and `networks.tracker`.
"""
