"""Bytes in, schedule out. No step of the NumPy networks uses it.

It imports `networks`, `networks.block_chain`, `networks.chain`, `networks.checks`, `networks.rounding`,
`networks.schedules`, `networks.tracker` and `networks.wording`.
"""
