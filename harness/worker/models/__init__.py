"""A PyTorch model of the user's own in a worker: its profile, and its step under memray and under the clock.

Beside what the worker's room may import, it may import `networks.torch_models` and `networks.planning`.
"""
