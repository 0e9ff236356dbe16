"""HTTP/2 by hand, for frames that no client sends: a connection that writes any frame and reads frames one by one.
Header blocks are coded by Debian's python3-hpack."""
import socket
import struct
import sys

sys.path.append("/usr/lib/python3/dist-packages")  # where Debian's packages are, whichever python3 runs this

import hpack

from lib.daemon import PATIENCE_S, parse_address

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, ENHANCE_YOUR_CALM = 0, 1, 2, 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def framed(message, length=None, flag=0):
    """A message behind its five bytes."""
    return bytes([flag]) + struct.pack(">I", len(message) if length is None else length) + message


class Raw:
    def __init__(self, address, preface=PREFACE + frame(SETTINGS)):
        self.socket = socket.create_connection(parse_address(address), PATIENCE_S)
        self.buffer, self.next_stream = b"", 1
        self.fields, self.kept = {}, []
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.encoder.huffman = False
        self.send(preface)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def try_send(self, data):
        """For peers that may be gone already."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def headers(self, path, *more, method="POST", content_type="application/grpc"):
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
        if content_type:
            fields.append(("content-type", content_type))
        return self.encoder.encode(fields + list(more))

    def call(self, path, message, *more, **options):
        """Frames of one whole call, and its stream."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        data = message if options.pop("is_framed", False) else framed(message)
        return stream, (frame(HEADERS, END_HEADERS, stream, self.headers(path, *more, **options)) +
                        frame(DATA, END_STREAM, stream, data))

    def read(self):
        """(kind, flags, stream, payload), or None at the end."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self.buffer += more
        length = int.from_bytes(self.buffer[:3], "big")
        kind, flags = self.buffer[3], self.buffer[4]
        stream, payload = int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + length]
        self.buffer = self.buffer[9 + length:]
        if kind == HEADERS:
            self.fields = dict(self.decoder.decode(payload))  # all of them, or the table is lost
        return kind, flags, stream, payload

    def next(self):
        """As read(), but first what came before a ping's answer."""
        if not self.kept:
            return self.read()
        got, self.fields = self.kept.pop(0)
        return got

    def answer(self, stream):
        """(headers and trailers as a dict, data) of a stream; the code of a RST_STREAM under "reset"."""
        found, data = {}, b""
        while True:
            got = self.next()
            if got is None:
                raise AssertionError(f"closed before the end of stream {stream}: {found}")
            kind, flags, of, payload = got
            if of != stream:
                continue
            if kind == HEADERS:
                found.update(self.fields)
            if kind == DATA:
                data += payload
            if kind == RST_STREAM:
                found["reset"] = int.from_bytes(payload, "big")
            if kind == RST_STREAM or flags & END_STREAM and kind in (DATA, HEADERS):
                return found, data

    def status(self, path, message, *more, **options):
        stream, frames = self.call(path, message, *more, **options)
        self.send(frames)
        return self.answer(stream)[0].get("grpc-status")

    def ping(self):
        """All that was sent before is read when this returns."""
        self.send(frame(PING, 0, 0, b"12345678"))
        while True:
            got = self.read()
            assert got, "closed before the answer to a ping"
            if got[:2] == (PING, ACK):
                return
            self.kept.append((got, self.fields))

    def goodbye(self):
        """Reads to the end: the error code of the last GOAWAY, None if there was none."""
        code = None
        while True:
            got = self.next()
            if got is None:
                return code
            if got[0] == GOAWAY:
                code = int.from_bytes(got[3][4:8], "big")
