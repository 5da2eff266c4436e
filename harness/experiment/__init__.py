"""Experiments: their files, cells, jobs and measures. Nothing here measures.

It imports `harness.files`, `harness.provenance`, `harness.sizes`, `networks`, `networks.chain`, `networks.layer_lists`,
`networks.schedules` and `networks.wording`.
"""
