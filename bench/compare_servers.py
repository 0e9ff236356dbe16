"""The servers that compare.py measures: started pinned to their cores on a free port, asked for their CPU time, stopped.
Python's standard library only."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

ADDRESS = re.compile(r"udp (\S+?:\d+)")
START_SECONDS = 30
TICK = os.sysconf("SC_CLK_TCK")
SPIN_US = 50
SECRET = "5f1c0a77d2e94b36881f3c60a9e4d7b25f1c0a77d2e94b36881f3c60a9e4d7b2"
KEY = "c3a9117be0524fd8b6602d9e71a8f4053c7e115d94b80fa26d33c1e87a05f962"
# The rule everybody measures with, and one that remembers for so long that every key stays in the table.
RULES = """    rules:
      - {name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}
      - {name: slow, algorithm: token_bucket, rate: 1/h, burst: 5}
"""
PLAIN = "tenants:\n  - name: default\n" + RULES
TAGGED = "key_file: {folder}/key\n" + PLAIN + "  - name: tagged\n    secret_files: [{folder}/secret]\n" + RULES


class Failed(Exception):
    pass


def pin(cores):
    return [] if cores is None else ["taskset", "-c", cores]


class Server:
    """One server process, pinned; gone at the end of the with block."""

    def __init__(self, command, cores):
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([*pin(cores), *map(str, command)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.said)
        self.address = None

    def __enter__(self):
        try:
            deadline = time.monotonic() + START_SECONDS
            while self.address is None:
                text = self._text()
                match = ADDRESS.search(text)
                if match:
                    self.address = match[1]
                elif self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"the server did not start: {text.strip() or 'it said nothing'}")
                else:
                    time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _text(self):
        self.said.flush()
        self.said.seek(0)
        return self.said.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.said.close()

    def cpu_seconds(self):
        """utime + stime of all its threads: from schedstat in nanoseconds, else from stat in ticks."""
        try:
            tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except OSError:
            text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
            fields = text.rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK


class Machine:
    """Where the servers and the load run, and what this build of mete can do. Removes its folder at the end."""

    def __init__(self, build):
        self.build = build
        self.folder = tempfile.TemporaryDirectory(prefix="mete-bench-")
        self.mete = build / "mete"
        usable = sorted(os.sched_getaffinity(0))
        self.pinned = len(usable) >= 2
        self.server_core, self.load_core = (str(usable[0]), str(usable[1])) if self.pinned else (None, None)
        # Two workers want two cores; with only two the load sits on one of them as well.
        self.both_cores = ",".join(map(str, usable[:2])) if self.pinned else None
        self.crowded = len(usable) < 3
        if not self.crowded:
            self.load_core = str(usable[2])
        self.conditions = (f"server on core {self.server_core}, load on core {self.load_core}" if self.pinned else
                           "ONE CORE ONLY: server and load share it, the figures say little")
        self.notes = []
        self.plain = self._write("plain.yaml", PLAIN)
        self.secret = self._write("secret", SECRET + "\n", 0o600)
        self._write("key", KEY + "\n", 0o600)
        self.tagged = self._write("tagged.yaml", TAGGED.replace("{folder}", self.folder.name))
        self.spin = ["--set", f"spin_us={SPIN_US}"] if self.accepts(PLAIN + f"spin_us: {SPIN_US}\n") else []
        # millions of datagrams a second on one worker: the default forgets young ones, and one in 10,000 is STALE
        self.many_repeats = ["--set", "repeats.memory=32MiB"] if self.accepts(PLAIN + "repeats: {memory: 32MiB}\n") else []
        self.no_repeats = ["--set", "repeats.window=0"] if self.accepts(PLAIN + "repeats: {window: 0}\n") else []
        why = self.refuses(self.tagged.read_text())
        self.has_tags = why is None and self._serves_tags()
        if not self.has_tags:
            self.notes.append("tags: skipped, this mete does not serve secrets" + (f" ({why})" if why else ""))
        if not self.spin:
            self.notes.append("spinning: this mete has no `spin_us`; the rows at half load are without it")

    def _write(self, name, text, mode=0o644):
        path = pathlib.Path(self.folder.name) / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def refuses(self, text):
        """Why this mete does not take this configuration; None: it does."""
        done = subprocess.run([self.mete, "config", "check", self._write("try.yaml", text)], capture_output=True, text=True)
        return None if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip()).replace(self.folder.name + "/", "")

    def accepts(self, text):
        return self.refuses(text) is None

    def _serves_tags(self):
        """A configuration with secrets may be taken and not yet be served."""
        try:
            with Server(self.serve("mmsg", config=self.tagged), self.server_core) as server:
                done = subprocess.run([self.mete, "bench", "--server", server.address, *self.tag_arguments(), "--requests",
                                       "10"], capture_output=True, text=True)
                return done.returncode == 0
        except Failed:
            return False

    def tag_arguments(self):
        return ["--tenant", "tagged", "--secret-file", str(self.secret)]

    def serve(self, backend, *, workers=1, entries=4194304, config=None, admin="none", sets=()):
        return [self.mete, "serve", "--config", config or self.plain, "--set", "listen.udp=127.0.0.1:0", "--set",
                f"listen.admin={admin}", "--set", f"workers={workers}", "--set", f"backend={backend}", "--set",
                f"table.entries={entries}", *sets]

    def echo(self, kind, *, join=False, spin=False):
        how = ["--plain"] if kind == "plain" else ["--backend", kind]
        return [self.build / "bench" / "echo", *how, *(["--join"] if join else []),
                *(["--spin-us", str(SPIN_US)] if spin and kind != "plain" else [])]

    def load(self, address, arguments, seconds):
        """One run of the load; its report."""
        command = [*pin(self.load_core), self.mete, "bench", "--json", "--server", address, *arguments, "--seconds",
                   str(seconds)]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    def close(self):
        self.folder.cleanup()
