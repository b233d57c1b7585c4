"""What is written beside the training steps."""
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

WAITING = 8  # jobs that may wait for a slow disk


class Writer:
    """A thread that does one job after the other."""

    def __init__(self):
        self.thread = ThreadPoolExecutor(1)
        self.jobs: deque[Future] = deque()

    def do(self, job: Callable[..., None], *arguments) -> Future:
        """Let the thread call `job` beside the steps; an error of what it did before comes up here."""
        added = self.thread.submit(job, *arguments)
        self.jobs.append(added)
        while self.jobs[0] is not added and (self.jobs[0].done() or len(self.jobs) > WAITING):
            self.jobs.popleft().result()
        return added

    def wait(self) -> None:
        """Until all that was to be written is on the disk; UserError or OSError if some of it is not."""
        while self.jobs:
            self.jobs.popleft().result()

    def close(self) -> None:
        """Do what is left and end the thread."""
        self.thread.shutdown()
