"""Memory on a CPU: freed blocks that stay with the process."""

import torch


def keep_pages() -> None:
    """Have freed memory stay with the process, up to 62 MiB of it.

    glibc maps large blocks anew at each allocation and hands freed memory back to the kernel, which clears the same pages at
    their next use: a third of an evaluation's time. Blocks are mapped
    above the size of the largest one ever freed, of at most 32 MiB (mallopt(3), M_MMAP_THRESHOLD); the heap is trimmed above
    twice that. This is such a block; it is never touched, so it takes no memory itself. Other allocators do not mind it.

    Small tensors that outlive large ones scatter over a heap that is kept so, and it grows: write results in place.

    Example:
        >>> keep_pages()
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
