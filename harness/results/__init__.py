"""Tables on disk: columns, schemas, records and folders.

It imports `harness.errors`, `harness.files`, `harness.experiment`, `networks.schedules` and `networks.wording`.
"""
