"""Where a run computes: device, noise as a function of position, and the versions of what it runs on."""
import platform
import sys

import h5py
import numpy as np
import torch
import torchvision

from config import UserError


def device(name: str) -> torch.device:
    """The device of --device; UserError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UserError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in convolutions too; products are so by default
    return torch.device(name)


def precision(name: str, where: torch.device) -> str:
    """The arithmetic of --precision: for auto, bfloat16 on GPUs since Ampere and on CPUs that multiply it."""
    if name != "auto":
        return name
    if where.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(where) >= (8, 0) else "float32"
    has = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 does not tell
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"


def seed_noise(*position: int) -> None:
    """Set torch's generators to a state that depends only on these numbers, e.g. (seed, player, update)."""
    torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> 1))


def versions() -> dict[str, str]:
    """Versions that a number depends on, for config.json."""
    packages = {module.__name__: str(module.__version__) for module in (torch, torchvision, h5py, np)}
    return {"python": sys.version.split()[0], **packages, "cuda": torch.version.cuda or "none",
            "machine": platform.machine(), "threads": str(torch.get_num_threads())}
