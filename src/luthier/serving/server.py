"""A bundle behind HTTP: verify, warm, bind, answer until told to stop."""

from __future__ import annotations

import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from luthier.errors import LuthierError
from luthier.inference.loading import load, processor_note
from luthier.serving.app import create_app
from luthier.serving.settings import ServeSettings

BACKLOG = 2048
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn that tells when it listens, and that returns after a signal instead of dying of it.

    Args:
        config: of uvicorn.
        on_listening: called once, when requests are answered.
    """

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the app's lifespan and listen."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal: a first one drains, a second SIGINT does not wait."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def serve(
    bundle: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: ServeSettings | None = None,
    on_ready: Callable[[str], None] | None = None,
    entry: str | None = None,
    runtime: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a bundle until SIGINT or SIGTERM; then answer what is under way and return.

    Args:
        bundle: its folder, or the run's folder that holds it.
        host: address to listen on; loopback unless told.
        port: 0 takes a free one.
        settings: bounds; default `ServeSettings()`.
        on_ready: called with the URL when requests are answered.
        entry: which of several entries of a combined bundle; None takes the only one.
        runtime: which of the bundle's runtimes; None takes the first.
        tell: told what the one who serves should know.

    Raises:
        LuthierError: the address cannot be had.
        ArtifactError: the bundle is damaged or answers otherwise than when it was evaluated.
    """
    settings = settings or ServeSettings()
    with bound(host, port) as listener:
        predictor = load(bundle, entry=entry, runtime=runtime)
        note = processor_note(predictor.manifest.runtimes[0])
        if note is not None:
            tell(note)
        app = create_app(predictor, settings=settings)
        server = make_server(app, listener, drain_seconds=settings.drain_seconds, on_ready=on_ready)
        server.run(sockets=[listener])


def make_server(
    app: Any, listener: socket.socket, *, drain_seconds: float, on_ready: Callable[[str], None] | None = None
) -> Server:
    """Return a server of an app on a bound socket: no access log, no proxy headers believed, no web sockets."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=math.ceil(drain_seconds),
    )
    return Server(config, lambda: on_ready(url_of(listener)) if on_ready else None)


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket bound to an address, which nobody can reach before a server listens on it.

    Raises:
        LuthierError: the address is not this machine's, the port is taken or not allowed.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise LuthierError(f"port must be a whole number from 0 to 65535; got {port!r}.", fix="0 takes a free one.")
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise LuthierError(
            f"cannot listen on {host}:{port}: {reason}.", fix="Choose another --port, or 0 for a free one."
        ) from None
    try:
        yield listener
    finally:
        listener.close()


def url_of(listener: socket.socket) -> str:
    """Return the address under which a bound socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
