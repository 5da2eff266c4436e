"""Tables on disk: columns, schemas, records and folders. It imports the ground and `harness.experiment`."""
