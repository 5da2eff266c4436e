"""Execution of jobs: processes, admission, pools, clusters and runs.

It imports the ground, `harness.experiment`, `harness.results`, and planning, schedules and wording of `networks`.
"""
