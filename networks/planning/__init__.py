"""Bytes in, schedule out. It imports `networks`; nothing that is measured imports it."""
