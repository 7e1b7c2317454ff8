"""Threads that are begun when they are needed, and done without when none can be had.

While the kernel gives no more threads (a limit on processes, no memory) an executor goes on with
those it has: `begin` sees to it that it has one.
"""

from concurrent.futures import ThreadPoolExecutor


class Threads(ThreadPoolExecutor):
    """A ThreadPoolExecutor that wants one thread, and takes more when they can be had."""

    def begin(self) -> None:
        """Have one thread from now on; raises RuntimeError when none can be had."""
        self.submit(int).result()

    def _adjust_thread_count(self) -> None:
        """Start another thread for what was queued, if need be."""
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                self._work_queue.get_nowait()  # whoever is told that it failed has it done by none
                raise
