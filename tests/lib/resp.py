"""A connection that speaks RESP by hand: what it sends is bytes, what it hears is decoded whole."""
import socket

from lib.daemon import PATIENCE_S


class Error(str):
    """An answer that begins with a minus."""


class Resp:
    def __init__(self, where):
        if isinstance(where, str) and "/" in where:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where)
        else:
            self.socket = socket.create_connection(where)
        self.socket.settimeout(PATIENCE_S)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    @staticmethod
    def encode(*words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        return b"".join(parts)

    def send(self, data):
        self.socket.sendall(data)

    def hear(self):
        line = self.file.readline()
        if not line:
            return None
        assert line.endswith(b"\r\n"), line
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.hear() for _ in range(int(rest))]
        assert kind == b"%", line
        return {self.hear(): self.hear() for _ in range(int(rest))}

    def ask(self, *words):
        self.send(self.encode(*words))
        return self.hear()

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
