"""Tables on disk: columns, schemas, records and folders.

It imports the ground, `harness.experiment`, and schedules and wording of `networks`.
"""
