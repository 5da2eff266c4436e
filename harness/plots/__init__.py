"""The figures: tables in, matplotlib Figures out. Nothing here measures, loads or saves.

It imports `harness.sizes`, `harness.experiment`, `harness.analysis`, and planning, rounding and wording of `networks`.
"""
