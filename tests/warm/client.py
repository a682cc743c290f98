"""Run a Python command line in a fork of the warm process, or cold where that will not do.

The words: the socket, this program's own path, the interpreter, and what follows its name.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def main(address: str, shim: str, python: str, *words: str) -> int:
    """The exit code of the command line; ends as it did, where a signal ended it."""
    asked = {
        "words": words,
        "shim": shim,
        "python": python,
        "cwd": os.getcwd(),  # noqa: PTH109 - pathlib takes as long to import as all of this
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"*"], [0, 1, 2])
        connection.sendall(json.dumps(asked).encode() + b"\n")
        with connection.makefile() as answers:
            answer = answers.read()
    if answer == "cold":
        os.execv(python, [python, *words])
    code = int(answer)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
