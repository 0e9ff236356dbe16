"""A TCP proxy that does what networks and servers do on bad days, on command.

    with FaultProxy(store.port) as proxy:
        ... connect to 127.0.0.1, proxy.port ...
        proxy.delay_s = 0.05           each piece comes so much later, both ways
        proxy.by_byte = True           each byte is a piece of its own, both ways
        proxy.cut()                    all connections are reset now
        proxy.cut_after("request", 99) after 99 more bytes of requests; or of "answer", when the request has been received
        proxy.black_hole = True        connections are accepted, and nothing ever comes back or goes on
        proxy.half_open = True         requests go on, answers are swallowed
        proxy.refuse()                 nobody listens; accept() listens again
        proxy.garbage(b"...")          said in place of the next answer

Its loop has a thread of its own; every switch acts at once on all connections. `cuts` counts resets.
"""
import asyncio
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST
PIECE = 65536


class Pipe:
    """One connection: two directions."""

    def __init__(self, proxy, client_writer, server_writer):
        self.proxy, self.writers = proxy, (client_writer, server_writer)

    def reset(self):
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if sock and not writer.transport.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def carry(self, reader, writer, direction):
        try:
            while True:
                data = await reader.read(PIECE)
                if not data:
                    break
                await self._pass_on(data, writer, direction)
            if not self.proxy.swallows("answer"):
                writer.close()
        except OSError:
            self.reset()

    async def _pass_on(self, data, writer, direction):
        proxy = self.proxy
        if proxy.delay_s:
            await asyncio.sleep(proxy.delay_s)
        if proxy.swallows(direction):
            return
        data = proxy.instead(data, direction)
        room = proxy.room(direction, len(data))
        if room is not None:
            data = data[:room]
        for piece in ([data[i:i + 1] for i in range(len(data))] if proxy.by_byte else [data]):
            writer.write(piece)
            await writer.drain()
            if proxy.by_byte:
                await asyncio.sleep(0)
        if room is not None:
            await asyncio.sleep(0)
            proxy.on_cut_reached()


class FaultProxy:
    def __init__(self, target_port):
        self.target_port = target_port
        self.delay_s, self.by_byte, self.black_hole, self.half_open = 0, False, False, False
        self.cuts = self.connections = 0
        self._pipes, self._armed, self._garbage, self._server = set(), None, None, None
        self._fired = threading.Event()
        self._loop = asyncio.new_event_loop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.accept()
        self.url = f"redis://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # called by tests, in their thread
    def _ask(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def accept(self):
        async def listen():
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._ask(listen())

    def refuse(self):
        async def stop():
            self._server.close()
            self._reset_all()
        self._ask(stop())

    def cut(self):
        async def reset():
            self._reset_all()
        self._ask(reset())

    def cut_after(self, direction, bytes_):
        """Arms it; wait_cut() waits until it has happened."""
        self._fired.clear()
        self._armed = [direction, bytes_]

    def wait_cut(self, patience_s=60):
        assert self._fired.wait(patience_s), f"no cut within {patience_s} s: {self._armed}"

    def garbage(self, data):
        self._garbage = data

    def close(self):
        async def end():
            self._server.close()
            self._reset_all()
            await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()),
                                 return_exceptions=True)
        self._ask(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    # called by the loop
    async def _connected(self, reader, writer):
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        for one in (writer, far_writer):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pipe = Pipe(self, writer, far_writer)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(pipe.carry(reader, far_writer, "request"), pipe.carry(far_reader, writer, "answer"))
        finally:
            self._pipes.discard(pipe)
            pipe.reset()

    def _reset_all(self):
        self.cuts += bool(self._pipes)
        for pipe in list(self._pipes):
            pipe.reset()

    def swallows(self, direction):
        return self.black_hole or (self.half_open and direction == "answer")

    def instead(self, data, direction):
        if direction == "answer" and self._garbage is not None:
            data, self._garbage = self._garbage, None
        return data

    def room(self, direction, size):
        """How much of these bytes still goes through; None: all, and nothing happens."""
        if not self._armed or self._armed[0] != direction:
            return None
        self._armed[1] -= size
        return None if self._armed[1] >= 0 else size + self._armed[1]

    def on_cut_reached(self):
        self._armed = None
        self._reset_all()
        self._fired.set()
