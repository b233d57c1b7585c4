"""Imported by the scripts before all else: while they import torch, which takes seconds, an interrupt ends them in one
line and status 130, as config.guarded does later."""
import os
import sys
from types import TracebackType


def _stop(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{os.path.basename(sys.argv[0])}: interrupted", file=sys.stderr, flush=True)
    os._exit(130)  # Python would end itself by the signal


sys.excepthook = _stop
