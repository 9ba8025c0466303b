"""Memory of training on a CPU."""

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEPT = -1  # as an unsigned size: never give memory back
_PAD_BYTES = 64 * 1024**2
_ENOUGH_BYTES = 16 * 1024**3  # of a machine's memory


def keep_freed_memory() -> bool:
    """Lets the process keep the memory that its tensors leave, for the tensors of the next step.

    The C library gives large blocks back to the system at once, and every step then begins with the system filling
    gigabytes with zeros. A step of the small recipe takes about 1.4 times as long that way (3.3 to 3.8 s against 2.5 s
    on two cores), and half the memory (a peak of 4.4 GB against 9). Nothing is kept on machines of less than 16 GiB.

    Returns:
        Whether it does: the machine has the memory, and its C library knows the settings (glibc does).
    """
    try:
        if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < _ENOUGH_BYTES:
            return False
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError, ValueError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _PAD_BYTES))
    return all(mallopt(setting, value) for setting, value in settings)
