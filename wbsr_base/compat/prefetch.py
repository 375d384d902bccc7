"""`prefetch_mode: cpu`, with errors that arrive.

BasicSR reads batches ahead in a thread. If the dataset raises there, the thread dies and the training waits for ever.
Here the error is handed on and raised in the training loop; and the thread starts with the first batch that is asked
for, since BasicSR makes one reader too many at the start and never uses it.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any


def mend() -> None:
    """Replace the prefetching reader, if it does not catch errors."""
    from basicsr.data import prefetch_dataloader

    if "except" not in inspect.getsource(prefetch_dataloader.PrefetchGenerator):
        prefetch_dataloader.PrefetchGenerator = prefetch


def prefetch(batches: Iterable[Any], num_prefetch_queue: int) -> Iterator[Any]:
    """Yield `batches`, read ahead by a thread that holds up to `num_prefetch_queue` of them; raise what it raises."""
    ready: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(num_prefetch_queue)

    def read() -> None:
        try:
            for batch in batches:
                ready.put((batch, None, False))
        except BaseException as error:  # noqa: BLE001  raised below, in the thread that asked
            ready.put((None, error, True))
        else:
            ready.put((None, None, True))

    threading.Thread(target=read, daemon=True).start()
    while True:
        batch, error, last = ready.get()
        if error is not None:
            raise error
        if last:
            return
        yield batch
