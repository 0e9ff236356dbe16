"""Real redis-server processes for tests: started on free ports in folders of their own, killed, restarted with and without
what they had stored; and a client of a few lines, so that tests need the standard library only.

    with Redis("--maxmemory", "1gb") as store:
        store.command("SET", "key", "value")
        store.kill()
        store.start()             # the same port and the same data
        store.start(empty=True)   # the same port, nothing stored

What was answered is in the append-only file (but with keeps=False): Redis writes it before it answers, and a killed
process loses no page of the kernel's cache.
"""
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE_S = 60  # a limit against hanging, not a measure


def has_redis():
    return shutil.which("redis-server") is not None and shutil.which("redis-cli") is not None


def free_port():
    """A port that is free now, below those that the kernel gives to outgoing connections: a server that is restarted must
    find its port free again."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_until(holds, what, patience_s=PATIENCE_S):
    """Asks again and again; what a caller waits for happens elsewhere."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {patience_s} s"
        time.sleep(0.005)


class RedisError(Exception):
    pass


class Connection:
    """Commands and answers of RESP 2, in turn; an error is raised, or an item of what it stands in."""

    def __init__(self, address):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def command(self, *words):
        parts = [f"*{len(words)}\r\n".encode()]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(parts))
        return self._answer()

    def _answer(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            data = self.file.read(size + 2)
            return data[:-2]
        return [self._item() for _ in range(size)]

    def _item(self):
        try:
            return self._answer()
        except RedisError as error:
            return error


class Redis:
    """One process. `options` are words of its command line; tls names the files of a second port (cert-file, key-file, ...)."""

    def __init__(self, *options, port=None, folder=None, keeps=True, tls=None):
        self.folder = folder or tempfile.mkdtemp(prefix="mete-redis-")
        self.path = os.path.join(self.folder, "r")
        self.port, self.tls_port = port or free_port(), free_port() if tls else None
        self.options, self.keeps, self.tls, self.process = options, keeps, tls, None
        self.url = f"redis://127.0.0.1:{self.port}"
        self.password = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _launch(self):
        said = open(os.path.join(self.folder, "log"), "ab")
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                     "--unixsocket", self.path, "--save", "", "--appendonly", "yes" if self.keeps else "no", "--daemonize", "no"]
        if self.tls:
            arguments += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            for name, file in self.tls.items():
                arguments += [f"--tls-{name}", file]
        with said:
            self.process = subprocess.Popen(arguments + [str(word) for word in self.options], stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def _answers(self):
        assert self.process.poll() is None, self.log()[-2000:]
        try:
            with self.connect() as redis:
                return redis.command("PING") == "PONG"
        except RedisError as error:
            return not str(error).startswith("LOADING")  # one that wants a password answers, too
        except OSError:
            return False

    def start(self, empty=False, wait=True):
        assert self.process is None or self.process.poll() is not None, "it still runs"
        if empty:
            self.forget()
        self._launch()
        if wait:
            wait_until(self._answers, "redis-server's first answer")

    def forget(self):
        """Removes what a stopped server stored."""
        for path in pathlib.Path(self.folder).iterdir():
            if path.name not in ("log", "nodes.conf"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def kill(self):
        """As a crash: SIGKILL."""
        self.resume()
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def pause(self):
        """Accepts, for the kernel does, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def connect(self):
        """Of a test's own, already logged in; close it."""
        connection = Connection(self.path)
        try:
            if self.password:
                connection.command("AUTH", self.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def command(self, *words, database=0):
        with self.connect() as redis:
            if database:
                redis.command("SELECT", database)
            return redis.command(*words)

    def usage(self, partitions=4, namespace="t"):
        """Units that were charged in a namespace of one tenant, as link_feed has it."""
        return sum(int(self.command("GET", f"{{mete:{namespace}:{p}}}usage:1") or 0) for p in range(partitions))

    def log(self):
        return pathlib.Path(self.folder, "log").read_text(errors="replace")

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster:
    """Masters and as many replicas, one each. Nodes fail over by themselves after `timeout_ms`."""

    def __init__(self, masters=3, *, timeout_ms=1000, options=()):
        self.nodes, self.buses, self.options = [], {}, options
        try:
            for _ in range(2 * masters):
                bus = free_port()
                self.nodes.append(Redis("--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", timeout_ms,
                                        "--cluster-config-file", "nodes.conf", "--repl-diskless-sync-delay", 0, *self.options))
                self.buses[self.nodes[-1].port] = bus
            self._create()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _create(self):
        """As redis-cli --cluster create does, which does not know of bus ports of one's own."""
        count = len(self.nodes) // 2
        first = self.nodes[0]
        for node in self.nodes[1:]:
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port, self.buses[node.port])
        for index, node in enumerate(self.nodes[:count]):
            node.command("CLUSTER", "ADDSLOTSRANGE", 16384 * index // count, 16384 * (index + 1) // count - 1)
        wait_until(lambda: all(len(self.view(node)) == len(self.nodes) for node in self.nodes), "the nodes' meeting")
        for index, node in enumerate(self.nodes[count:]):
            node.command("CLUSTER", "REPLICATE", self.id(self.nodes[index]))
        self.wait_healthy()

    @staticmethod
    def view(node):
        """What a node knows of all: id -> (port, flags, words)."""
        lines = node.command("CLUSTER", "NODES").decode().splitlines()
        return {words[0]: (int(words[1].split("@")[0].rpartition(":")[2]), words[2].split(","), words)
                for words in map(str.split, lines)}

    @staticmethod
    def id(node):
        return node.command("CLUSTER", "MYID").decode()

    def alive(self):
        return [node for node in self.nodes if node.process.poll() is None]

    def masters(self):
        return [node for node in self.alive() if node.command("ROLE")[0] == b"master"]

    def replica_of(self, master):
        for node in self.alive():
            role = node.command("ROLE")
            if role[0] == b"slave" and role[2] == master.port:
                return node
        return None

    def _is_healthy(self, node):
        info = node.command("CLUSTER", "INFO").decode()
        if "cluster_state:ok" not in info or "cluster_slots_ok:16384" not in info:
            return False
        role = node.command("ROLE")
        return role[0] == b"master" or role[3] == b"connected"

    def wait_healthy(self):
        wait_until(lambda: all(self._is_healthy(node) for node in self.alive()), "the cluster's health")

    def master_of(self, slot):
        """By the map that most of the living tell."""
        told = [port for port in (self._owner_in(node, slot) for node in self.alive()) if port]
        assert told, f"nobody serves slot {slot}"
        port = max(set(told), key=told.count)
        return next(node for node in self.nodes if node.port == port)

    def kill_master(self, slot=0):
        """Kills the master of a slot and waits until its replica serves it."""
        victim = self.master_of(slot)
        victim.kill()
        wait_until(lambda: any(self._serves(node, slot) for node in self.alive()), "the failover")
        return victim

    def _serves(self, node, slot):
        try:
            owner = self.master_of(slot)
        except RedisError:
            return False
        return owner.process.poll() is None and "cluster_state:ok" in node.command("CLUSTER", "INFO").decode()

    def fail_over(self, slot=0):
        """A manual failover: no write that was answered is lost."""
        master = self.master_of(slot)
        replica = self.replica_of(master)
        replica.command("CLUSTER", "FAILOVER")
        wait_until(lambda: replica.command("ROLE")[0] == b"master", "the manual failover")
        wait_until(lambda: all(self._owner_in(node, slot) == replica.port for node in self.alive()), "the news of it")
        return replica

    @staticmethod
    def _owner_in(node, slot):
        return next((owner[1] for low, high, owner, *_ in node.command("CLUSTER", "SLOTS") if low <= slot <= high), None)

    def move_slot(self, slot, target, *, at_once=10, between=lambda: None):
        """Migrates a slot with its keys, some at a time; `between` is called while it is on its way."""
        source = self.master_of(slot)
        target_id, source_id = self.id(target), self.id(source)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        between()
        while True:
            keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, at_once)
            if not keys:
                break
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 10000, "KEYS", *keys)
            between()
        for node in (target, source, *self.masters()):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        wait_until(lambda: all(self._owner_in(node, slot) == target.port for node in self.alive()), "the news of it")

    def reshard(self, source, target, slots):
        """The same by redis-cli, as operators do it."""
        check = ["redis-cli", "--cluster", "check", f"127.0.0.1:{source.port}"]
        wait_until(lambda: subprocess.run(check, capture_output=True, timeout=PATIENCE_S).returncode == 0, "agreement")
        done = subprocess.run(["redis-cli", "--cluster", "reshard", f"127.0.0.1:{source.port}", "--cluster-from",
                               self.id(source), "--cluster-to", self.id(target), "--cluster-slots", str(slots),
                               "--cluster-yes"], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr

    @property
    def url(self):
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:len(self.nodes) // 2])

    def close(self):
        for node in self.nodes:
            node.close()
