"""What the tables say. Pure: tables in, tables out. It imports the ground and `networks`."""
