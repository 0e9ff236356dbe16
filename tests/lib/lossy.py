"""A bad network before a daemon: tests/property/lossy_proxy.c, started and stopped.

    with Daemon() as daemon, Lossy(daemon.port, seed=1) as network:
        ... talk to 127.0.0.1, network.port ...
    network.counts["requests"]["lost"]
"""
import re
import subprocess

from lib import daemon


class Lossy:
    def __init__(self, port, seed=1, *, loss=50, duplication=50, reordering=200, delay_us=3000, late=5):
        """Parts of 1000 but for delay_us; late: copies that come up to half a second later."""
        numbers = (port, seed, loss, duplication, reordering, delay_us, late)
        self.process = subprocess.Popen([str(daemon.BUILD / "tests/property/lossy_proxy"), *map(str, numbers)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.counts = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        said, _ = self.process.communicate(timeout=daemon.PATIENCE_S)
        assert self.process.returncode == 0
        for direction in ("requests", "answers"):
            words = re.search(direction + r" (\d+) lost (\d+) duplicated (\d+) delayed (\d+)", said)
            self.counts[direction] = dict(zip(("received", "lost", "duplicated", "delayed"), map(int, words.groups())))
