"""The report: results folders in, one HTML page out that a browser opens from disk. Nothing here measures.

It imports `harness.sizes`, `harness.experiment`, `harness.results`, `harness.analysis`, `networks.planning`,
`networks.schedules` and `networks.tracker`.
"""
