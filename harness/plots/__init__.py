"""The figures: tables in, matplotlib Figures out. Nothing here measures, loads or saves.

It imports `harness.sizes`, `harness.experiment`, `harness.analysis`, `networks.planning`, `networks.rounding` and
`networks.wording`.
"""
