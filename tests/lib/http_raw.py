"""HTTP over a plain socket, for what a well-behaved library would not send."""
import json
import socket

PATIENCE_S = 30


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Raw:
    def __init__(self, address, connected=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = connected or socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        if not connected:
            self.socket.connect(address)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(self.rest)
        self.rest += data

    def answer(self, is_head=False):
        """The next answer, judged: status line, headers by lower-case name, exactly Content-Length bytes."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, reason = first.split(" ", 2)
        assert version == "HTTP/1.1" and reason, first
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        length = 0 if is_head else int(headers["content-length"])
        while len(self.rest) < length:
            self._more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return Answer(int(status), headers, body)

    def ask(self, data):
        self.send(data)
        return self.answer(data.startswith(b"HEAD "))

    def is_closed(self):
        """Nothing more comes but the end."""
        try:
            return self.rest == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def get(target, *headers):
    return request("GET", target, None, *headers)


def post(target, body, *headers):
    return request("POST", target, body, *headers)


def request(method, target, body, *headers):
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *headers]
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data
