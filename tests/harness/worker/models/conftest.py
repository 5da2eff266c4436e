"""One thread, because PyTorch's threads wait busily, and tests run beside each other."""

import importlib.util

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
