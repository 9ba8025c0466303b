"""Media files in, faces and voice out: the project's only decoder, face detector and encoder.

Needs the extra `media` (`pip install -e ".[media]"`); `synthetic.py` needs the extra `synthetic`. Importing this
package alone loads no codec. Clock zero is the container's start, times are in seconds on that clock.
"""

from .outcomes import MediaError, Status

__all__ = ["MediaError", "Status"]
