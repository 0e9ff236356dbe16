#!/usr/bin/env python3
"""Single checks past the socket: what `make bench-xdp` does. bench/README.md says how to read the table.

    compare_xdp.py [--quick] [--rounds N] [--seconds S] [--frames N] [--build DIR] [--json FILE] [--only TEXT] [--keep-going]

Two namespaces with a veth pair between them. On the client's end an XDP program (bench/xdp/circulate.bpf.c) turns every answer into
the next question and judges it: sequence, tag, status. The server and the kernel thread that receives for it run on one core, what
receives for the client on the other. Each row is measured once a round, every other round backwards; figures are medians. Besides,
what the program costs other traffic of the interface: a TCP stream and TCP round trips, without it and with it. Root; Python's
standard library only. Ctrl-C and SIGTERM take everything down, and what a killed run left is removed by the next one."""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lib import mete_wire as wire  # noqa: E402
from lib.xdp_world import NETWORKS, Unavailable, World  # noqa: E402
from compare_doors import NGINX, Other, free_port  # noqa: E402
from compare_servers import KEY, SECRET, TAGGED, Failed, Server  # noqa: E402

PORT, KEYS = 6383, 1_000_000
RING = 512  # short enough to stay in the cache, longer than what goes round
EVERY_US = 20  # the load looks for answers, as a network card collects before it interrupts
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"]  # so that not even kill -9 leaves a server or a load behind
MOST_STRANGE = 1e-4  # of all answers; more, and the row is not what it says
# (name, which server, with tags)
ROWS = [
    ("mete, af_xdp, carried", "mete carried", False),
    ("mete, af_xdp, carried, tags", "mete carried", True),
    ("mete, af_xdp", "mete af_xdp", False),
    ("mete, af_xdp, tags", "mete af_xdp", True),
    ("null echo, af_xdp, carried", "echo carried", False),
    ("null echo, af_xdp", "echo af_xdp", False),
    ("mete, io_uring", "mete io_uring", False),
    ("mete, mmsg", "mete mmsg", False),
    ("mete, io_uring, tags", "mete io_uring", True),
    ("null echo, io_uring", "echo io_uring", False),
    ("null echo, plain sockets", "echo plain", False),
]
SOCKETS = ["mete, io_uring", "mete, mmsg"]


class Stopped(Exception):
    pass


def on_signal(number, _):
    raise Stopped(signal.Signals(number).name)


def cpu_of(pids):
    return sum(int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


class Bench:
    """All rows but those of TCP, whose namespaces are of their own: as they come, without threads for NAPI."""

    def __init__(self, build, folder, world, options):
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise Unavailable("one core for the server and one for the load are needed")
        self.server_core, self.load_core = usable[:2]
        self.build, self.folder, self.world, self.options = build, folder, world, options
        self.napi = self.load_napi = ()
        self.object = pathlib.Path(options.object or build / "bench" / "circulate.bpf.o")
        world.server, world.client = [*DIES_WITH_US, *world.server], [*DIES_WITH_US, *world.client]
        for name, text in (("secret", SECRET + "\n"), ("key", KEY + "\n")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        self.config = folder / "mete.yaml"
        self.config.write_text(TAGGED.replace("{folder}", str(folder)))
        self.notes, self.nginx = [], None

    def thread_napi(self):
        self.napi = self.world.thread_napi("s", self.server_core)
        self.load_napi = self.world.thread_napi("c", self.load_core)
        self.world.defer_napi("c", 20_000_000)

    def command(self, kind, backend):
        # what is woken does not interrupt what works: so the thread that receives and the server take turns by whole batches
        here = [*self.world.server, "taskset", "-c", self.server_core, "chrt", "--batch", "0"]
        address = f"{self.world.server_address}:{PORT}"
        if kind == "echo":
            rings = ["--interface", self.world.server_interface, "--ring", RING]
            how = {"af_xdp": rings, "carried": [*rings, "--carry"], "plain": ["--plain"]}
            return [*here, self.build / "bench" / "echo", "--host", self.world.server_address, "--port", PORT,
                    *how.get(backend, ["--backend", backend])]
        carry = ["--set", "af_xdp.carry=on"] if backend == "carried" else []
        backend = "af_xdp" if backend == "carried" else backend
        interface = [*carry, "--set", f"listen.interface={self.world.server_interface}", "--set", f"af_xdp.ring={RING}"]
        return [*here, self.build / "mete", "serve", "--config", self.config, "--set", f"listen.udp={address}", "--set",
                f"trusted_networks={NETWORKS[0]}", "--set", "listen.admin=none", "--set", "workers=1", "--set",
                f"backend={backend}", "--set", "table.entries=4194304", "--set", "repeats.memory=32MiB",
                *(interface if backend == "af_xdp" else [])]

    def say_hello(self):
        """The MAC key of this life of the server."""
        done = subprocess.run([*self.world.client, sys.executable, __file__, "--hello", f"{self.world.server_address}:{PORT}"],
                              capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise Failed(f"no answer to HELLO: {done.stderr.strip()}")
        return done.stdout.strip()

    def load_command(self, kind, tags):
        world = self.world
        tenant = wire.name_id("tagged" if tags else "default")
        secret = ["--secret", 0, "--key", self.say_hello()] if tags else []
        return [*world.client, "taskset", "-c", self.load_core, self.build / "bench" / "xdp_load", "--object", self.object,
                "--interface", world.client_interface, "--server-mac", world.server_mac, "--server",
                f"{world.server_address}:{PORT}", "--client", world.client_address, "--frames", self.options.frames, "--every-us",
                EVERY_US, "--keys", KEYS, "--seconds", self.options.seconds, "--tenant", tenant, "--rule", wire.name_id("fast"),
                *(["--echo"] if kind == "echo" else []), *secret]

    def pass_all(self):
        """A program on the server's end that passes everything, where the server itself puts none."""
        passing = subprocess.Popen(list(map(str, [*self.world.server, self.build / "bench" / "xdp_load", "--object", self.object,
                                                  "--interface", self.world.server_interface, "--pass"])),
                                   stdout=subprocess.PIPE, text=True)
        passing.stdout.readline()
        return passing

    def measure(self, row):
        name, which, tags = row
        kind, backend = which.split()
        passing = None if backend in ("af_xdp", "carried") else self.pass_all()
        try:
            with Server(self.command(kind, backend), None) as server:
                return self.circulate(name, server, self.load_command(kind, tags))
        finally:
            if passing:
                passing.kill()
                passing.wait()

    def circulate(self, name, server, command):
        def cpu():
            return server.cpu_seconds() + cpu_of(self.napi), cpu_of(self.load_napi)

        load = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            readings = []
            self.poke(load.stdout.readline())
            for word in ("started", "ended"):
                if load.stdout.readline().strip() != word:
                    raise Failed(f"{name}: {load.stderr.read().strip()}")
                readings.append(cpu())
            line = load.stdout.readline()
            if not line.strip():
                raise Failed(f"{name}: the load ended without a report: {load.stderr.read().strip()}")
            report = json.loads(line)
        finally:
            load.kill()
            load.wait()
            load.stdout.close()
            load.stderr.close()
        answers = max(report["answers"], 1)
        report["server_ns"], report["load_ns"] = ((after - before) * 1e9 / answers for before, after in zip(*readings))
        if report["busy"] >= 0:  # it receives by itself
            report["load_ns"] = report["busy"] * 1e9 / answers
        report["per_core"] = 1e9 / report["server_ns"]
        return report

    def poke(self, line):
        """The datagram by which the load learns for which interface it is to receive."""
        if line.startswith("port "):
            subprocess.run([*self.world.server, sys.executable, __file__, "--poke", f"{self.world.client_address}:{line.split()[1]}"],
                           timeout=30, check=True)

    def start_nginx(self):
        if not shutil.which("nginx"):
            self.notes.append("nginx: not installed (apt-get install nginx-light)")
            return
        port = free_port()
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, port=port))
        try:
            self.nginx = Other(["nginx", "-c", config, "-p", self.folder], str(self.server_core), port)
        except Failed as why:
            self.notes.append(f"nginx: {why}")

    def measure_nginx(self):
        before = self.nginx.cpu_seconds()
        done = subprocess.run(list(map(str, ["taskset", "-c", self.load_core, self.build / "mete", "bench", "--json", "--server",
                                             self.nginx.address, "--door", "http", "--ask", "/limited?s={}", "--flows", 8,
                                             "--outstanding", 1, "--keys", 100_000, "--timeout", 10000, "--seconds",
                                             self.options.seconds])), capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"nginx: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        server_ns = (self.nginx.cpu_seconds() - before) * 1e9 / max(report["checks"], 1)
        return {"per_second": report["checks_per_second"], "server_ns": server_ns, "per_core": 1e9 / server_ns, "strange": 0,
                "load_ns": report["client_cpu_seconds"] * 1e9 / max(report["checks"], 1), "answers": report["checks"]}

    # ---- what it costs the others ----

    def measure_tcp(self, how):
        """A TCP stream to the server's end and round trips with it, beside an idle daemon of this kind."""
        servers = {"none": ["mmsg"], "native": ["af_xdp", "--set", "af_xdp.mode=native"],
                   "generic": ["af_xdp", "--set", "af_xdp.mode=generic"]}
        backend, *more = servers[how]
        with Server([*self.command("mete", backend), *more], None):
            sink = subprocess.Popen([*self.world.server, "taskset", "-c", str(self.server_core), sys.executable, __file__, "--sink"],
                                    stdout=subprocess.PIPE, text=True)
            try:
                port = sink.stdout.readline().strip()
                done = subprocess.run([*self.world.client, "taskset", "-c", str(self.load_core), sys.executable, __file__,
                                       "--source", f"{self.world.server_address}:{port}", "--seconds", str(self.options.seconds)],
                                      capture_output=True, text=True, timeout=60)
            finally:
                sink.kill()
                sink.wait()
                sink.stdout.close()
        if done.returncode:
            raise Failed(f"TCP beside {how}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def close(self):
        if self.nginx:
            self.nginx.stop()


# ---- what runs inside the namespaces ----

def hello(address):
    from lib.signed import Signed
    host, port = address.rsplit(":", 1)
    secret = bytes.fromhex(SECRET)
    with Signed((host, int(port)), "tagged", secret) as client:
        client.learn()
        print(client.key.hex() if isinstance(client.key, bytes) else client.key)


def poke(address):
    import socket
    host, port = address.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"!", (host, int(port)))


def sink():
    import socket
    listener = socket.create_server(("", 0))
    print(listener.getsockname()[1], flush=True)
    stream, _ = listener.accept()
    room = bytearray(1 << 20)
    while True:  # a stream until its end mark, then round trips
        count = stream.recv_into(room)
        if count == 0:
            return
        if room[count - 1] == 1:
            break
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(struct.pack("d", time.process_time()))
    while True:
        byte = stream.recv(64)
        if not byte:
            return
        stream.send(byte)


def source(address, seconds):
    import socket
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)))
    chunk, sent = bytes(1 << 20), 0
    begin, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - begin < seconds:
        stream.sendall(chunk)
        sent += len(chunk)
    stream.sendall(b"\x01")
    cpu = time.process_time() - cpu + struct.unpack("d", stream.recv(8))[0]
    rate = sent / (time.monotonic() - begin) / 1e6
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    begin = time.monotonic()
    while time.monotonic() - begin < seconds / 2:
        before = time.monotonic_ns()
        stream.send(b"?")
        stream.recv(64)
        trips.append(time.monotonic_ns() - before)
    print(json.dumps({"mb_per_s": rate, "cpu_ms_per_mb": cpu * 1e9 / sent, "trip_us": sorted(trips)[len(trips) // 10] / 1e3}))


# ---- the tables ----

def median(rows, figure):
    return statistics.median(row[figure] for row in rows)


def ratios(samples, above, below):
    """Of the rounds' pairs, each against the best of what it is compared with."""
    return statistics.median(
        samples[above][i]["per_core"] / max(samples[name][i]["per_core"] for name in below) for i in range(len(samples[above])))


def verdict(is_met):
    return "ok" if is_met else "miss"


def target_lines(samples):
    def known(*names):
        return all(samples.get(name) for name in names)

    for row, name, echo in (("mete, af_xdp, carried", "answers carried", "null echo, af_xdp, carried"),
                            ("mete, af_xdp", "each by itself", "null echo, af_xdp")):
        if known(row):
            rate = median(samples[row], "per_core")
            yield f"| single checks, unjoined, per server core, {name} | >= 1,000,000 | {rate:,.0f} | {verdict(rate >= 1e6)} |"
        if known(row + ", tags"):
            rate = median(samples[row + ", tags"], "per_core")
            yield f"| the same, tags verified | >= 800,000 | {rate:,.0f} | {verdict(rate >= 8e5)} |"
        if known(row, *SOCKETS):
            times = ratios(samples, row, SOCKETS)
            yield f"| times the best socket backend | >= 3 | {times:.2f} | {verdict(times >= 3)} |"
        if known(row, "nginx limit_req"):
            times = ratios(samples, row, ["nginx limit_req"])
            yield f"| times nginx's limit_req | >= 10 | {times:.1f} | {verdict(times >= 10)} |"
        if known(row, echo):
            yield f"| of the null echo so | | {ratios(samples, row, [echo]):.2f} | |"
    if known("mete, af_xdp, carried", "mete, af_xdp"):
        yield f"| carried, times each by itself | | {ratios(samples, 'mete, af_xdp, carried', ['mete, af_xdp']):.2f} | |"


def tables(samples, tcp, options, notes):
    yield (f"{options.rounds} rounds of {options.seconds} s, {options.frames} frames going round, {KEYS:,} keys; kernel "
           f"{os.uname().release}, load average {os.getloadavg()[0]:.1f}")
    yield ""
    yield "| what | target | measured | |"
    yield "| --- | ---: | ---: | --- |"
    yield from target_lines(samples)
    yield ""
    yield "| one server core | reached/s | per server core | spread | server CPU per check | load's |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, rows in samples.items():
        if not rows:
            continue
        rates = [row["per_core"] for row in rows]
        yield (f"| {name} | {median(rows, 'per_second'):,.0f} | {median(rows, 'per_core'):,.0f} | "
               f"{(max(rates) - min(rates)) / 2 / median(rows, 'per_core'):.0%} | {median(rows, 'server_ns'):,.0f} ns | "
               f"{median(rows, 'load_ns'):,.0f} ns |")
        wrong = sum(row["strange"] + row.get("other", 0) for row in rows)
        total = sum(row["answers"] for row in rows)
        if wrong > MOST_STRANGE * total:
            notes.append(f"{name}: INVALID: {wrong} of {total} answers were wrong")
        lost = sum(row.get("lost", 0) for row in rows)
        if lost or wrong or sum(row.get("refused", 0) for row in rows):
            notes.append(f"{name}: {wrong} wrong, {sum(row.get('refused', 0) for row in rows)} refused whole, {lost} frames lost")
    if tcp:
        yield ""
        yield "| other traffic of the interface | TCP stream | CPU of both ends | TCP round trip, p10 |"
        yield "| --- | ---: | ---: | ---: |"
        for how, rows in tcp.items():
            what = "no program" if how == "none" else f"the program, {how}"
            yield (f"| {what} | {median(rows, 'mb_per_s'):,.0f} MB/s | {median(rows, 'cpu_ms_per_mb') * 1000:,.0f} us per MB | "
                   f"{median(rows, 'trip_us'):.1f} us |")
    yield from (f"note: {note}" for note in notes)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--frames", type=int, default=192)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--object", help="the load's program; by default the build's")
    parser.add_argument("--json", help="write every round's figures to this file")
    for inner in ("--hello", "--source", "--poke"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.5 if options.quick else 1.0)
    return options


def measure_all(bench, beside, options):
    bench.thread_napi()
    rows = [row for row in ROWS if options.only in row[0]]
    samples, tcp = {row[0]: [] for row in rows}, {}
    if options.only in "nginx limit_req":
        bench.start_nginx()
        samples["nginx limit_req"] = []
    for number in range(options.rounds):
        for row in rows if number % 2 == 0 else reversed(rows):
            samples[row[0]].append(bench.measure(row))
        if bench.nginx:
            samples["nginx limit_req"].append(bench.measure_nginx())
        if options.only in "TCP":
            for how in ("none", "native", "generic"):
                tcp.setdefault(how, []).append(beside.measure_tcp(how))
    return samples, tcp


def main():
    options = parse()
    if options.hello:
        return hello(options.hello)
    if options.sink:
        return sink()
    if options.poke:
        return poke(options.poke)
    if options.source:
        return source(options.source, options.seconds)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    bench = None
    try:
        with tempfile.TemporaryDirectory(prefix="mete-xdp-") as folder, World() as world, World() as other:
            try:
                build, folder = pathlib.Path(options.build).resolve(), pathlib.Path(folder)
                bench = Bench(build, folder, world, options)
                samples, tcp = measure_all(bench, Bench(build, folder, other, options), options)
            finally:
                if bench:
                    bench.close()
    except Stopped as stopped:
        print(f"compare_xdp: stopped by {stopped}; everything is taken down", file=sys.stderr)
        return 130
    except Unavailable as why:
        print(f"compare_xdp: cannot be measured here: {why}", file=sys.stderr)
        return 2
    except Failed as failed:
        print(f"compare_xdp: {failed}", file=sys.stderr)
        return 4
    print("\n".join(tables(samples, tcp, options, bench.notes)))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"rows": samples, "tcp": tcp}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
