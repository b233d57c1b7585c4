"""CUDA graphs: the kernels of a function are recorded once and then launched together, which takes a fraction of the
time that Python needs to launch them one by one."""
import sys
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls that run as they are: libraries choose their kernels and allocate in them


class Graph:
    """A function of tensors of fixed shapes to a tensor, which the next call overwrites, recorded as a CUDA graph after
    a few calls. It may change other tensors (weights), draw from the default generator, and must not read back to the
    host; one that cannot be recorded runs as it is, and says so."""

    def __init__(self, function: Callable[..., Tensor], name: str):
        self.function, self.name = function, name
        self.calls, self.graph = 0, None
        # Of its own: what other threads ask for on a stream that is recorded becomes part of the graph.
        self.stream = torch.cuda.Stream()

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == WARM_UP + 1:
            self._record(inputs)
        if self.graph is None:
            return self._eager(inputs)
        torch._foreach_copy_(self.inputs, list(inputs))
        self.graph.replay()
        return self.value

    def _eager(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """As it is, on the stream of the recording, where gradients must have been accumulated before."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            value = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return value

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs, graph = [tensor.clone() for tensor in inputs], torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            # thread_local: the threads that fetch images and write checkpoints may allocate pinned memory meanwhile
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.value = self.function(*self.inputs)
        except RuntimeError as error:
            # Ending a recording that has failed raises an error of its own. (A name for its cause would be a cycle, by
            # which what the function allocated stays.)
            reason = str(error.__context__ or error).strip().partition("\n")[0]
            # When torch cannot end the recording it stays on the other stream, and, before 2.13, its generator in the
            # recording, until one ends well.
            torch.cuda.set_stream(stream)
            with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self.stream, capture_error_mode="thread_local"):
                self.inputs[0].zero_()  # recorded, never done
            print(f"{self.name}: cannot be recorded as a CUDA graph and runs without ({reason})", file=sys.stderr)
        else:
            self.graph = graph
