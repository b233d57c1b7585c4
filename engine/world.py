"""Where a run computes: device, noise as a function of position, and the versions of what it runs on."""
import contextlib
import ctypes
import functools
import importlib.metadata
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import torch

from config import UserError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def device(name: str) -> torch.device:
    """The device of --device; UserError if it is not there."""
    if not (known := re.fullmatch(r"auto|cpu|cuda(?::(0|[1-9]\d?))?", name)):
        raise UserError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and int(known[1] or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in convolutions too; products are so by default
    torch.backends.cudnn.deterministic = True  # the same seed gives the same run
    where = torch.device(name)
    if where.index is not None:
        torch.cuda.set_device(where)  # streams and graphs are made on the current device
    return where


def precision(name: str, where: torch.device) -> str:
    """The arithmetic of --precision: for auto, bfloat16 on GPUs since Ampere and on CPUs that multiply it."""
    if name != "auto":
        return name
    if where.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(where) >= (8, 0) else "float32"
    has = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 does not tell
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"


def keep_freed_memory() -> None:
    """Let the C library keep what is freed. glibc gives each freed activation of some megabytes back to the kernel,
    which hands it out again page by page: a fifth of the time of an MLP's step on two threads."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(TRIM_THRESHOLD, (1 << 31) - 1)


def wake_vector_functions() -> None:
    """Let torch read one constant of its vector functions. Until then log1p, expm1 and what is made of them (softplus,
    ELU) take six to ten times as long in the whole process, with the same results: seen with torch 2.14.1 on an AMD
    EPYC (figure/result/LOG.md)."""
    torch.zeros(1, dtype=torch.bfloat16).tanh()


MOST_THREADS = torch.get_num_threads()  # cores, or what OMP_NUM_THREADS says
FLOP_OF_A_THREAD = 1e9  # in a step: some milliseconds of work for each, so that handing it out costs little


def use_threads(asked: int, step_flop: float) -> int:
    """Let torch use that many threads of the CPU; 0: one for each FLOP_OF_A_THREAD of a step, and the number that
    results depend on is then the same on every machine that has as many cores. Returns the number."""
    count = asked or max(1, min(MOST_THREADS, math.ceil(step_flop / FLOP_OF_A_THREAD)))
    torch.set_num_threads(count)
    return count


def image_budget(where: torch.device) -> int:
    """Bytes that images may take there: half of what is free, on the host within the limits of a container."""
    if where.type == "cuda":
        return torch.cuda.mem_get_info(where)[0] // 2
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2] if hasattr(os, "sysconf") else [4 << 30]
    with contextlib.suppress(OSError, TypeError):  # Linux tells more
        found = [1024 * int(re.search(r"MemAvailable: *(\d+)", Path("/proc/meminfo").read_text())[1])]
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(limit - used, 0))
    return min(found) // 2


# What draws noise beside the players, which count from 0.
WEIGHTS, DATA_INIT, SAMPLES, GENERATED, INTERPOLATED = range(1000, 1005)


def seed_noise(seed: int, who: int, update: int = 0) -> None:
    """Set torch's generators to a state that depends on nothing but the run's seed, who draws, and the number of its
    update."""
    # The words keep their places: SeedSequence pads with zeros and splits numbers over 32 bits.
    state = np.random.SeedSequence((seed, who, update & 0xFFFFFFFF, update >> 32)).generate_state(1, np.uint64)
    # torch.manual_seed would do, but spends a millisecond on a stack trace where CUDA has not been used.
    torch.default_generator.manual_seed(int(state[0] >> 1))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(int(state[0] >> 1))


class Lane:
    """A stream of a GPU with random numbers of its own. What is asked of the GPU inside neither waits for what was
    asked in other lanes nor changes what they draw, so that several runs can share the GPU in turns."""

    def __init__(self, where: torch.device):
        with torch.cuda.device(where):
            torch.cuda.init()
            self.stream, self.generator = torch.cuda.Stream(), torch.Generator(where)

    def __enter__(self) -> None:
        self.outside = torch.cuda.current_stream(self.stream.device)
        torch.cuda.set_stream(self.stream)
        default = torch.cuda.default_generators[self.stream.device_index]
        self.drawn_outside = default.graphsafe_get_state()
        default.graphsafe_set_state(self.generator)

    def __exit__(self, *_) -> None:
        torch.cuda.set_stream(self.outside)
        torch.cuda.default_generators[self.stream.device_index].graphsafe_set_state(self.drawn_outside)


@functools.cache
def commit() -> str:
    """That of this toolkit, with "-dirty" where files differ from it; "unknown" where there is no git."""
    root, told = Path(__file__).resolve().parent.parent, ""
    with contextlib.suppress(OSError):
        told = subprocess.run(["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "-uno"], text=True,
                              env=os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)},  # of no other repository
                              capture_output=True, cwd=root, check=False).stdout
    found = re.search(r"^# branch.oid ([0-9a-f]{12})", told)
    return found[1] + ("-dirty" if re.search(r"^[^#]", told, re.MULTILINE) else "") if found else "unknown"


def hardware(where: torch.device) -> str:
    """The name of that GPU, or of the processor."""
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    with contextlib.suppress(OSError):  # not Linux
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or "CPU"


def versions(where: torch.device) -> dict[str, str]:
    """Versions, and the device, that a number depends on, for config.json."""
    packages = {module.__name__: str(module.__version__) for module in (torch, h5py, np)}
    packages["torchvision"] = importlib.metadata.version("torchvision")  # itself takes seconds to import
    return {"toolkit": commit(), "python": sys.version.split()[0], **packages, "cuda": torch.version.cuda or "none",
            "machine": platform.machine(), "device": hardware(where), "threads": str(torch.get_num_threads())}
