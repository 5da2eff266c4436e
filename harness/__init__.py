"""How the networks are measured: experiment files in, tidy CSVs and figures out."""
