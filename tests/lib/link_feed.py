"""The link to Redis alone, as a process: tests/property/link_feed.c, told what to do and read line by line."""
import queue
import subprocess
import threading
import time

from lib.daemon import BUILD

PATIENCE_S = 40  # a limit against hanging, not a measure


class Feed:
    def __init__(self, url, namespace="t", partitions=4, node=1, **options):
        command = [str(BUILD / "tests/property/link_feed"), url, namespace, str(partitions), str(node)]
        command += [f"{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.stdin.close()
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process.stdout.close()
        assert kind or status in (0, 1), f"link_feed ended with {status}, having said {self.seen}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def expect(self, start, but=None):
        """The next line that starts so; others are passed over, but for those that start with `but`."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self.lines.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line {start!r}; there were {self.seen}")
            self.seen.append(line)
            assert not line.startswith("wrong"), line
            assert not (but and line.startswith(but)), line
            if line.startswith(start):
                return line

    def expect_all(self, *starts):
        """The next line of each start, in any order."""
        found = {}
        while len(found) < len(starts):
            line = self.expect(tuple(start for start in starts if start not in found))
            found[next(start for start in starts if line.startswith(start))] = line
        return [found[start] for start in starts]

    def charge(self, units=1, partition=0, key=1):
        """Charges a counter and returns what it is then, as (outcome, value, nodes)."""
        self.tell(f"charge {partition} {key} {units}")
        words = self.expect("answer").split()
        return int(words[3]), int(words[5]), int(words[6])

    def look(self):
        self.tell("look")
        names = ("fault", "nodes", "ready", "peers", "cluster", "script", "redirects")
        values = self.expect("looked").split()[1:]
        return {name: value if name == "fault" else int(value) for name, value in zip(names, values)}
