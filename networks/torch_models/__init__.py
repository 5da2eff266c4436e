"""A PyTorch model of the user's own, as a chain of blocks. Only this room and the worker's import torch."""
