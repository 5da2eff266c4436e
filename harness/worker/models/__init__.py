"""A user's own PyTorch model in a worker: its profile, and the memory and time of its step.

It imports `harness.experiment`, `harness.worker`, `networks.planning`, `networks.rounding`, `networks.schedules`,
`networks.torch_models` and `networks.wording`.
"""
