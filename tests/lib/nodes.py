"""Several daemons that share limits through one store, for end-to-end tests, and load on them.

    with Redis() as store, Nodes(3, store.url, "{name: api, algorithm: token_bucket, rate: 100/s, burst: 10}") as nodes:
        with Load(nodes, "api", rate=1000) as load:
            store.kill()
            store.start()
        load.result["odd"]             # datagrams that were answered badly
        nodes.wait_told(store)         # until the store has counted every unit that was admitted
"""
import concurrent.futures
import itertools
import json
import os
import subprocess

from lib import daemon
from lib.stores import RedisError, wait_until

LOAD = daemon.BUILD / "bench" / "cluster_load"
NUMBERS = itertools.count(1)


def usage_of(redis):
    """Units that one server has counted, over all tenants and partitions."""
    sum_, cursor = 0, b"0"
    while True:
        cursor, keys = redis.command("SCAN", cursor, "MATCH", "{mete:*usage:*", "COUNT", 1000)
        for key in set(keys):
            try:
                sum_ += int(redis.command("GET", key) or 0)
            except RedisError:
                pass  # a test put another type there
        if cursor == b"0":
            return sum_


class Nodes:
    """`rules`: one in YAML's flow form, or a list. `store`: what redis: says besides url and nodes."""

    def __init__(self, count, url, rules, *, namespace=None, store="", sets=(), workers=1, entries=65536):
        rules = [rules] if isinstance(rules, str) else rules
        self.namespace = namespace or f"test-{os.getpid()}-{next(NUMBERS)}"
        self.urls = [url] * count if isinstance(url, str) else list(url)
        self.rules, self.store, self.sets = rules, store, sets
        self.workers, self.entries = workers, entries
        self.gone_units = 0
        self.daemons = []
        try:
            with concurrent.futures.ThreadPoolExecutor(count) as pool:
                started = [pool.submit(self._start, each) for each in self.urls]
                self.daemons = [one.result() for one in started if not one.exception()]
                for one in started:
                    one.result()
        except BaseException:
            self.close()
            raise

    def _start(self, url):
        extra = f", {self.store}" if self.store else ""
        config = (f"namespace: {self.namespace}\n"
                  f"redis: {{url: '{url}', nodes: {len(self.urls)}{extra}}}\n"
                  "tenants:\n  - name: default\n    rules:\n" + "".join(f"      - {rule}\n" for rule in self.rules))
        return daemon.Daemon(config, self.sets, workers=self.workers, entries=self.entries)

    def __len__(self):
        return len(self.daemons)

    def __getitem__(self, index):
        return self.daemons[index]

    @property
    def ports(self):
        return [node.port for node in self.daemons]

    def admitted(self):
        """Units that the nodes themselves say they admitted."""
        return self.gone_units + sum(rule["units"] for node in self.daemons for rule in node.stats()["rules"])

    def wait_told(self, *servers, patience_s=60):
        """Until the servers together have counted what was admitted, no unit more or less. Traffic must be over."""
        admitted, counted = self.admitted(), []

        def is_told():
            counted[:] = [sum(usage_of(redis) for redis in connections)]
            return counted[0] >= admitted
        connections = [server.connect() for server in servers]
        try:
            wait_until(is_told, "the last charges' arrival", patience_s)
        except AssertionError as late:
            raise AssertionError(f"{late}: {counted} of {admitted}") from None
        finally:
            for redis in connections:
                redis.close()
        assert counted[0] == admitted, f"counted {counted[0]}, admitted {admitted}"
        return admitted

    def stop_one(self, index):
        """SIGTERM; what it admitted still counts."""
        node = self.daemons.pop(index)
        self.gone_units += sum(rule["units"] for rule in node.stats()["rules"])
        node.stop()
        node.close()

    def start_one(self):
        self.daemons.append(self._start(self.urls[0]))
        return self.daemons[-1]

    def close(self):
        for node in self.daemons:
            node.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for node in self.daemons:
                    node.stop()
        finally:
            self.close()


class Load:
    """bench/cluster_load on all nodes, until the end of the block; then `result` is what it printed."""

    def __init__(self, nodes, rule, *, rate, keys=20, seconds=600, limit=0, burst=0, options=()):
        ports = ",".join(map(str, nodes.ports))
        self.process = subprocess.Popen(
            [str(LOAD), "--nodes", ports, "--rule", rule, "--rate", str(rate), "--keys", str(keys), "--seconds",
             str(seconds), "--limit", str(limit), "--burst", str(burst), "--stop-fd", *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.result = None

    def stop(self):
        said, _ = self.process.communicate(timeout=daemon.PATIENCE_S)
        assert self.process.returncode == 0
        self.result = json.loads(said)
        return self.result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.result is None:
            self.stop()
