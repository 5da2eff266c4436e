"""Analysis of tables. Pure: tables in, tables out. It imports the ground and `networks`."""
