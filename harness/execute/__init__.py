"""Execution of jobs: processes, admission, pools, clusters and runs.

It imports the ground, `harness.experiment`, `harness.results`, `networks.planning`, `networks.schedules` and
`networks.wording`.
"""
