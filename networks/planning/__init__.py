"""Bytes in, schedule out. It imports `networks`. No step of the NumPy networks uses it."""
