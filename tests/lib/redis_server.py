"""A redis-server for end-to-end tests: on a free port and a UNIX socket, in a fresh folder, ended with the test.

    with RedisServer() as redis:
        redis.say("SET", "a", "1")

say() speaks the protocol itself and returns what redis-cli would print, errors as RedisError."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE_S = 30  # a limit against hanging, not a measure


class RedisError(Exception):
    pass


def free_port(also=0):
    """A port that is free now, and so is the one at that distance."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port + also > 65535 or port > 55000 and also:
                continue
            try:
                if also:
                    other.bind(("127.0.0.1", port + also))
            except OSError:
                continue
            return port


class RedisServer:
    def __init__(self, *options, port=None, folder=None, tls=None, cluster=False):
        self.options, self.tls = options, tls
        self.port = port or free_port(10000 if cluster else 0)
        self.tls_port = free_port() if tls else 0
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="mete-redis-")
        self.path = os.path.join(self.folder, "r")
        self.process = None
        self.password = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, wait=True):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.path,
                   "--dir", self.folder, "--save", "", "--logfile", os.path.join(self.folder, "log")]
        if self.tls:
            command += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            for name, file in self.tls.items():
                command += [f"--tls-{name}", file]
        self.process = subprocess.Popen(command + list(self.options), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while wait:
            try:
                self.say("PING")
                return
            except RedisError:
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    with open(os.path.join(self.folder, "log"), encoding="utf-8") as log:
                        raise AssertionError("redis-server did not start:\n" + log.read()[-2000:]) from None
                time.sleep(0.01)

    def kill(self, how=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
        if self.process:
            self.process.wait(PATIENCE_S)

    def stop(self):
        self.kill(signal.SIGTERM)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def say(self, *words, database=0):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(PATIENCE_S)
            wire.connect(self.path)
            with wire.makefile("rb") as replies:
                if self.password:
                    tell(wire, replies, "AUTH", self.password)
                if database:
                    tell(wire, replies, "SELECT", database)
                return tell(wire, replies, *words)


def tell(wire, replies, *words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    wire.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    return read_reply(replies)


def read_reply(replies):
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("no reply")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2]
    if rest == b"-1":
        return None
    items = []
    for _ in range(int(rest)):
        try:
            items.append(read_reply(replies))
        except RedisError as error:
            items.append(error)
    return items


def usage(redis, partitions=4, namespace="t"):
    """Units that were charged in a namespace of link_feed: it has one tenant."""
    return sum(int(redis.say("GET", f"{{mete:{namespace}:{p}}}usage:1") or 0) for p in range(partitions))
