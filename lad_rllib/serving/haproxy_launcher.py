"""Run in the place of HAProxy: has it listen where it should, and ends it in time.

Arguments: HAProxy's program; ``host:port`` of the service; HAProxy's own arguments, with ``-f`` before the file of its
configuration. HAProxy then ends with the process that started it, however that ends; it would otherwise keep the port,
and the next one could not listen there.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Option of Linux's ``prctl``: the signal that a process gets when its parent has ended."""


def bound(configuration: str, address: str) -> str:
    """A configuration that listens where it should.

    Args:
        configuration: HAProxy's as Serve writes it: a port that it was not told an address for is open everywhere.
        address: ``host:port`` for the port that Serve has on 127.0.0.1; all others are open there alone.
    """
    inside = re.sub(r"^( *bind )\*?:(\d+)$", r"\g<1>127.0.0.1:\2", configuration, flags=re.MULTILINE)
    port = address.rpartition(":")[2]
    return re.sub(rf"^( *bind )127\.0\.0\.1:{port}$", rf"\g<1>{address}", inside, flags=re.MULTILINE)


if __name__ == "__main__":
    program, address, *arguments = sys.argv[1:]
    file = Path(arguments[arguments.index("-f") + 1])
    file.write_text(bound(file.read_text(), address))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execv(program, [program, *arguments])
