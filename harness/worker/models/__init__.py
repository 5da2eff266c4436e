"""A user's own PyTorch model in a worker: its profile, and the memory and time of its step.

It imports what `harness.worker` may import, and also `networks.torch_models` and `networks.planning`.
"""
