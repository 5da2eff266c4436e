"""Execution of jobs: processes, admission, pools, clusters and runs.

It imports the ground, `harness.experiment` and `harness.results`.
"""
