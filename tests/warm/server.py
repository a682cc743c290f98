"""The warm process: it imports the libraries, and forks for each command line that it is asked for.

It never imports a module of ours. It ends when its standard input does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from become import Start, run

LIBRARIES = (
    "accelerate", "bitsandbytes", "datasets", "hypothesis", "peft.tuners.lora.bnb", "pluggy",
    "pydantic.json_schema", "pydantic.main", "pytest", "rich.live", "rich.progress", "rich.table",
    "torch._dynamo", "torch._inductor.compile_fx",
    "transformers.integrations.bitsandbytes", "transformers.integrations.integration_utils",
    "transformers.models.llama.modeling_llama", "transformers.trainer_callback", "typer", "yaml",
)  # fmt: skip
"""What `anima` imports as it trains, and what of it takes long."""


def main(address: str) -> None:
    """Import everything, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this says when it ends
    start = Start.here()
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the forks leave these objects' pages alone
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)  # noqa: T201 - to whoever started this
        Server(start, listener).serve()


class Server:
    """Forks, and tells each client of its fork's end.

    Attributes:
        running: for each fork, the file descriptor that tells of its end, its id and its client.
    """

    def __init__(self, start: Start, listener: socket.socket) -> None:
        import torch

        self.start = start
        self.listener = listener
        self.forks = not torch.cuda.is_available()  # a device does not outlive a fork
        self.running: dict[int, tuple[int, socket.socket]] = {}
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until standard input ends."""
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.selector.register(0, selectors.EVENT_READ, None)
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    self.stop()
                    return
                key.data()

    def stop(self) -> None:
        """End every fork."""
        for pid, _ in self.running.values():
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def accept(self) -> None:
        """Read what is asked, and fork."""
        client, _ = self.listener.accept()
        _, streams, _, _ = socket.recv_fds(client, 1, 3)
        with client.makefile("rb") as asked:
            line = asked.readline()
        request: Mapping[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        how = self.start.read(request) if request and self.forks else None
        if not request:  # it has ended meanwhile
            client.close()
        elif how is None:
            client.sendall(b"cold")
            client.close()
        elif pid := os.fork():
            self.watch(pid, client)
        else:
            self.selector.close()
            self.listener.close()
            for descriptor, stream in enumerate(streams):
                os.dup2(stream, descriptor)
                os.close(stream)
            run(self.start, how)
        for stream in streams:
            os.close(stream)

    def watch(self, pid: int, client: socket.socket) -> None:
        """Wait for the fork's end, and for the client's."""
        os.setpgid(pid, pid)
        ended = os.pidfd_open(pid)
        self.running[ended] = pid, client
        self.selector.register(ended, selectors.EVENT_READ, lambda: self.tell(ended))
        self.selector.register(client, selectors.EVENT_READ, lambda: self.abandon(ended))

    def tell(self, ended: int) -> None:
        """Say how the fork ended."""
        pid, client = self.running.pop(ended)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.selector.unregister(ended)
        os.close(ended)
        if client.fileno() in self.selector.get_map():
            self.selector.unregister(client)
        with client, suppress(BrokenPipeError):
            client.sendall(str(code).encode())

    def abandon(self, ended: int) -> None:
        """End the fork, and what it started, for its client has ended."""
        if ended in self.running:
            pid, client = self.running[ended]
            self.selector.unregister(client)
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
