"""Profiles of models that nobody has measured, for what reads a profile and needs no PyTorch."""

from networks.planning.own_models import BlockProfile, ProfiledBlock

MIB = 2**20


def block(name: str, *, output: int = MIB, tape: int = 4 * MIB, gradient: int = MIB // 4, **others) -> ProfiledBlock:
    numbers = {
        "made_bytes": (output,),
        "tape_bytes": tape,
        "run_bytes": 2 * output,
        "taped_run_bytes": 2 * output + tape,
        "backward_bytes": tape + 3 * output + gradient,
        "freed_backward_bytes": tape + 3 * output + gradient // 2,
        "gradient_bytes": gradient,
        "delta_bytes": output,
        "forward_flops": 10**9,
        "seconds": 0.5,
        "engine_bytes": 0,
    }
    return ProfiledBlock(name=name, **{**numbers, **others})


def profile(*blocks: ProfiledBlock, **others) -> BlockProfile:
    numbers = {
        "before_bytes": 0,
        "before_run_bytes": 0,
        "before_backward_bytes": 0,
        "engine_bytes": 500,
        "loss_forward_bytes": 100,
        "loss_backward_bytes": MIB,
        "loss_holds_output": True,
        "loss_bytes": 10,
        "freed_loss_bytes": 5,
        "fingerprint": "f00",
        "cut": "layers",
        "inputs": "float32 (8, 3)",
        "parameters_bytes": 5 * MIB,
        "trained_bytes": 4 * MIB,
        "data_bytes": 96,
        "threads": 1,
        "torch": "2.13.0",
        "python": "3.11.9",
    }
    return BlockProfile(blocks=blocks, **{**numbers, **others})
