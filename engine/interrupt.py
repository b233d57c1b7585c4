"""Imported by the scripts before all else: while they import torch, which takes seconds, an interrupt ends them in one
line and status 130, as config.guarded does later; a package that is not installed does so with status 2."""
import os
import sys
from types import TracebackType


def _stop(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    script = os.path.basename(sys.argv[0])
    if issubclass(kind, KeyboardInterrupt):
        print(f"{script}: interrupted", file=sys.stderr, flush=True)
        os._exit(130)  # Python would end itself by the signal
    if isinstance(error, ModuleNotFoundError):
        print(f"{script}: error: {sys.executable} has no package {error.name}; use the Python of the set-up, "
              f".venv/bin/python {script} ..., or install requirements.txt", file=sys.stderr, flush=True)
        os._exit(2)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _stop
