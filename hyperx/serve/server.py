"""Server: one service behind one port, from warm-up to drain."""

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from hyperx.inference.predictor import Predictor
from hyperx.serve import app
from hyperx.serve.service import Service
from hyperx.serve.settings import Settings

logger = logging.getLogger(__name__)

# Seconds in which clients may read answers once the last one is computed.
_FAREWELL = 10
_LOOK = 0.05


class Server(uvicorn.Server):
    """Answers all that was accepted before it ends.

    The first SIGTERM or SIGINT drains: new requests get 503 until all others are
    answered. The second one ends the server at once: what is not answered gets 503,
    and what is being computed ends at its next pause.

    Attributes:
        service: behind it.
    """

    def __init__(self, service: Service, bound: socket.socket) -> None:
        self.service, self._bound = service, bound
        config = uvicorn.Config(
            app.build(service),
            log_level="warning",
            timeout_graceful_shutdown=_FAREWELL,
            server_header=False,
        )
        super().__init__(config)

    @property
    def address(self) -> str:
        """Where it is to be reached."""
        host, port, *_ = self._bound.getsockname()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until drained."""
        self.service.worker.start()
        logger.info("listening at %s, not ready yet", self.address)
        ending = asyncio.create_task(self._until_drained())
        try:
            await super().serve([self._bound])
        finally:
            ending.cancel()
            await asyncio.to_thread(self.service.close)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when it stops listening."""
        if self.force_exit:
            self.service.give_up()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn's signal handlers."""
        if self.service.draining:
            self.should_exit = self.force_exit = True
        self.drain()

    @property
    def exit_code(self) -> int:
        """0 if all that was accepted was answered, 1 if not, or if it had to end."""
        answered = self.service.live and self.service.idle
        return 0 if answered and not self.force_exit else 1

    def drain(self) -> None:
        """Refuses new requests and ends once all others are answered."""
        logger.info("draining")
        self.service.draining = True

    async def _until_drained(self) -> None:
        announced = False
        while not (self.service.draining and self.service.idle):
            await asyncio.sleep(_LOOK)
            if self.service.ready and not announced:
                logger.info("ready")
                announced = True
            if not self.service.live:
                break
        self.should_exit = True


def bind(settings: Settings) -> socket.socket:
    """A socket at the address of the settings.

    Raises:
        OSError: if it is taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family)


def serve(predictor: Predictor, settings: Settings) -> int:
    """Serves a model until SIGTERM or SIGINT.

    Returns:
        The exit code, see `Server.exit_code`.
    """
    bound = bind(settings)
    server = Server(Service(predictor, settings), bound)
    # While nothing is bound yet, and where uvicorn is not in charge any more.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run()
    return server.exit_code
