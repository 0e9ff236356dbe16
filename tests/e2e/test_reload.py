#!/usr/bin/env python3
"""A configuration that changes while traffic flows: what is kept, what starts fresh, what is refused, and that no answer
is lost meanwhile. Who asks, by signal, by the admin socket or by writing the file, is told apart in the log.

METE_RELOADS is how many reloads the load tests make (50)."""
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, PATIENCE_S, SANITIZED, Daemon, mete
from lib.signed import Signed

RELOADS = int(os.environ.get("METE_RELOADS", "50"))
HOUR_NS = 3600 * 10**9


def tenant(name, *rules, more=""):
    listed = "".join(f"      - {{{rule}}}\n" for rule in rules)
    return f"  - name: {name}\n{more}    rules:{'' if rules else ' []'}\n{listed}"


def config(*tenants, more=""):
    return more + "tenants:\n" + "".join(tenants)


BUCKET = "name: api, algorithm: token_bucket, rate: 10/h, burst: 10"
BASE = config(tenant("default", BUCKET))


class Reloaded(Daemon):
    """A daemon whose file can be rewritten."""

    def __init__(self, text=BASE, *arguments, **options):
        super().__init__(text, *arguments, **options)
        self.path = os.path.join(self.folder, "mete.yaml")

    def write(self, text):
        """As a deployment does: a new file in the place of the old one."""
        pathlib.Path(self.path + ".new").write_text(text)
        os.rename(self.path + ".new", self.path)

    def ask(self):
        return mete("reload", "--admin", self.admin)

    def reload(self, text=None):
        """Must be taken; returns what was said."""
        if text is not None:
            self.write(text)
        done = self.ask()
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def wait_for(self, words):
        """The next line of the log that has these words."""
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            assert line is not None, self.said
            if words in line:
                return line

    def wait_live(self, count):
        """Until upkeep has left that many entries."""
        for _ in range(10 * PATIENCE_S):
            live = self.stats()["table"]["live"]
            if live == count:
                return
            time.sleep(0.1)
        raise AssertionError(f"{live} entries are live, not {count}")


class Kept(unittest.TestCase):
    def test_numbers_change_and_debt_stays(self):
        with Reloaded() as daemon, daemon.client() as client:
            self.assertEqual(client.check("api", b"a", 4).remaining, 6)
            daemon.reload()
            self.assertEqual(client.check("api", b"a", 0).remaining, 6)
            # 4 units at 10/h are 24 minutes of debt, which are 8 units at 20/h
            daemon.reload(config(tenant("default", BUCKET.replace("10/h", "20/h").replace("burst: 10", "burst: 30"))))
            self.assertEqual(client.check("api", b"a", 0).remaining, 22)
            self.assertEqual(daemon.rule("api")["units"], 4)
            daemon.reload(BASE)
            self.assertEqual(client.check("api", b"a", 0).remaining, 6)

    def test_debt_is_cut_to_a_full_bucket(self):
        """A slow limit's debt, ten hours, is at most the half hour that a full bucket of the new one is."""
        slow = config(tenant("default", BUCKET.replace("10/h", "1/h")))
        fast = config(tenant("default", "name: api, algorithm: token_bucket, rate: 100/h, burst: 50"))
        with Reloaded(slow) as daemon, daemon.client() as client:
            for i in range(2000):
                client.check("api", b"s%d" % i, 10)
            daemon.reload(fast)
            last = time.monotonic() + PATIENCE_S
            for i in range(2000):
                verdict = client.check("api", b"s%d" % i)
                while verdict.reset_after_ns > HOUR_NS // 2:  # not looked at yet
                    self.assertLess(time.monotonic(), last)
                    verdict = client.check("api", b"s%d" % i)
                self.assertFalse(verdict.allowed)
                self.assertLessEqual(verdict.retry_after_ns, 36 * 10**9)

    def test_another_algorithm_starts_fresh_but_usage_goes_on(self):
        fixed = config(tenant("default", "name: api, algorithm: fixed_window, limit: 10/365d"))
        longer = config(tenant("default", "name: api, algorithm: fixed_window, limit: 10/364d"))
        lower = config(tenant("default", "name: api, algorithm: fixed_window, limit: 5/364d"))
        with Reloaded() as daemon, daemon.client() as client:
            self.assertEqual(client.check("api", b"a", 10).remaining, 0)
            self.assertIn("rules +0 -0, changed 1", daemon.reload(fixed))
            self.assertEqual(client.check("api", b"a", 7).remaining, 3)
            daemon.reload(longer)
            self.assertEqual(client.check("api", b"a", 6).remaining, 4)
            daemon.reload(lower)
            self.assertEqual(client.check("api", b"a", 0).remaining, 0)
            self.assertEqual(daemon.rule("api")["units"], 23)
            daemon.wait_live(1)
            self.assertEqual(daemon.rule("api")["units"], 23)

    def test_leases(self):
        """They outlive a reload and a lower limit, and go with their rule."""
        def jobs(limit):
            return config(tenant("default", BUCKET, f"name: jobs, algorithm: concurrency, limit: {limit}, lease: 1h"))
        with Reloaded(jobs(4)) as daemon, daemon.client() as client:
            def ask(type_, lease):
                verdict = client.limits(type_, "jobs", b"a", lease_id=lease).entries[0]
                return verdict.status, verdict.flags, verdict.remaining
            for lease, left in ((1, 3), (2, 2), (3, 1)):
                self.assertEqual(ask(wire.ACQUIRE, lease), (wire.OK, wire.ALLOW, left))
            daemon.reload(jobs(2))
            self.assertEqual(ask(wire.RENEW, 1), (wire.OK, wire.ALLOW, 0))
            self.assertEqual(ask(wire.ACQUIRE, 4), (wire.OK, 0, 0))
            self.assertEqual(ask(wire.RELEASE, 2), (wire.OK, wire.ALLOW, 0))
            self.assertEqual(ask(wire.ACQUIRE, 4), (wire.OK, 0, 0))
            self.assertEqual(ask(wire.RELEASE, 3), (wire.OK, wire.ALLOW, 1))
            self.assertEqual(ask(wire.ACQUIRE, 4), (wire.OK, wire.ALLOW, 0))
            self.assertEqual(daemon.stats()["table"]["live"], 3)
            daemon.reload(BASE)
            self.assertEqual(ask(wire.RELEASE, 1), (wire.UNKNOWN_RULE, 0, 0))
            daemon.wait_live(0)
            daemon.reload(jobs(4))
            self.assertEqual(ask(wire.RELEASE, 1), (wire.UNKNOWN_LEASE, 0, 0))
            self.assertEqual(client.check("jobs", b"a", 0).remaining, 4)

    def test_tenants_and_rules_come_and_go(self):
        two = config(tenant("default", BUCKET, "name: login, algorithm: fixed_window, limit: 5/365d"),
                     tenant("other", BUCKET))
        with Reloaded() as daemon, daemon.client() as client:
            self.assertEqual(client.check("login", b"a").status, wire.UNKNOWN_RULE)
            client.send_unanswered([client.request(wire.CHECK, "api", b"a", tenant="other")])
            self.assertIn("tenants +1 -0, rules +1 -0, changed 0", daemon.reload(two))
            for i in range(300):
                self.assertTrue(client.check("login", b"%d" % i, 5).allowed)
                self.assertTrue(client.check("api", b"%d" % i, tenant="other").allowed)
                self.assertTrue(client.check("own", b"%d" % i, inline=(5, 5, 3600 * 10**9), tenant="other").allowed)
            self.assertTrue(client.check("api", b"a", 3).allowed)
            self.assertEqual(daemon.stats()["table"]["live"], 901)
            self.assertIn("tenants +0 -1, rules +0 -1, changed 0", daemon.reload(BASE))
            before = daemon.stats()["total"]["unknown_tenant"]
            client.send_unanswered([client.request(wire.CHECK, "api", b"1", tenant="other")])
            self.assertEqual(daemon.stats()["total"]["unknown_tenant"], before + 1)
            self.assertEqual(client.check("login", b"1").status, wire.UNKNOWN_RULE)
            daemon.wait_live(1)
            daemon.reload(two)  # who comes back finds nothing
            self.assertTrue(client.check("login", b"1", 5).allowed)
            self.assertEqual(client.check("api", b"1", 10, tenant="other").remaining, 0)
            self.assertEqual(client.check("api", b"a", 0).remaining, 7)
            self.assertEqual(daemon.rule("api", "other")["units"], 10)


class Refused(unittest.TestCase):
    def test_a_bad_file_changes_nothing(self):
        with Reloaded() as daemon, daemon.client() as client:
            client.check("api", b"a", 4)
            for text, words in ((BASE.replace("10/h", "0/h"), ":4: tenants[0].rules[0].rate: "), ("", "mete.yaml:"),
                                (BASE.replace("algorithm", "algoritm"), "algoritm"), (BASE[:-20], "mete.yaml:")):
                daemon.write(text)
                done = daemon.ask()
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertTrue(done.stderr.startswith("mete reload: "), done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)
                self.assertIn(words, done.stderr)
                self.assertIn("; nothing was changed", daemon.wait_for("reload by admin"))
                self.assertEqual(client.check("api", b"a", 0).remaining, 6)
            os.unlink(daemon.path)
            self.assertEqual(daemon.ask().returncode, 2)
            self.assertEqual(client.check("api", b"a", 0).remaining, 6)
            daemon.reload(BASE)

    def test_too_many_rules(self):
        many = config(tenant("default", BUCKET, *(f"name: r{i}, algorithm: deny" for i in range(1100))))
        with Reloaded() as daemon, daemon.client() as client:
            client.check("api", b"a", 4)
            daemon.write(many)
            done = daemon.ask()
            self.assertEqual(done.returncode, 2)
            self.assertIn("owner rows", done.stderr)
            self.assertEqual(client.check("r1", b"a").status, wire.UNKNOWN_RULE)
            fewer = config(tenant("default", BUCKET, *(f"name: r{i}, algorithm: deny" for i in range(1000))))
            daemon.reload(fewer)
            self.assertEqual(client.check("r999", b"a").status, wire.OK)
            self.assertEqual(client.check("api", b"a", 0).remaining, 6)

    def test_rows_of_the_last_reload_are_waited_for(self):
        """Each reload needs half of all rows anew; the ones before it must be free by then."""
        kinds = ("algorithm: fixed_window, limit: 5/1h", "algorithm: sliding_window, limit: 5/1h")
        texts = [config(tenant("default", *(f"name: r{i}, {kind}" for i in range(500)))) for kind in kinds]
        with Reloaded(texts[0]) as daemon, daemon.client() as client:
            for i in range(6):
                self.assertEqual(client.check("r499", b"a").remaining, 4)
                daemon.reload(texts[(i + 1) % 2])
            self.assertEqual(daemon.rule("r499")["units"], 6)

    def test_what_needs_a_restart_is_named_and_the_rest_applied(self):
        more = ("listen: {udp: ['127.0.0.1:1'], admin: /nowhere/else}\nworkers: 3\ntable: {entries: 128, on_full: deny}\n"
                "backend: mmsg\nnamespace: elsewhere\n")
        text = config(tenant("default", BUCKET.replace("burst: 10", "burst: 20")), tenant("new", BUCKET, more="    entries: 64\n"),
                      more=more)
        with Reloaded() as daemon, daemon.client() as client:
            said = daemon.reload(text)  # listen, workers, table.entries and backend stand on the command line
            self.assertIn("needs a restart: namespace, table.on_full, entries of tenant new\n", said)
            self.assertEqual(client.check("api", b"a").remaining, 19)
            self.assertEqual(client.check("api", b"a", tenant="new").remaining, 9)
            self.assertIn("needs a restart: namespace, table.on_full, entries of tenant new\n", daemon.reload())

    def test_without_a_daemon(self):
        done = mete("reload", "--admin", "/nowhere/admin.sock")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(mete("reload", "now").returncode, 2)
        self.assertEqual(mete("reload", "--help").returncode, 0)


class Asked(unittest.TestCase):
    def test_by_signal(self):
        with Reloaded() as daemon, daemon.client() as client:
            daemon.write(BASE.replace("burst: 10", "burst: 20"))
            daemon.process.send_signal(signal.SIGHUP)
            line = daemon.wait_for("reload by ")
            self.assertIn(f"reload by SIGHUP of pid {os.getpid()} uid {os.getuid()}: {daemon.path} from ", line)
            self.assertEqual(client.check("api", b"a").remaining, 19)

    def test_by_admin(self):
        with Reloaded() as daemon:
            daemon.reload()
            self.assertRegex(daemon.wait_for("reload by "), rf"reload by admin pid \d+ uid {os.getuid()}: ")

    def test_by_the_file(self):
        watched = "reload: watch\n" + BASE
        with Reloaded(watched) as daemon, daemon.client() as client:
            remaining = lambda: client.check("api", b"a", 0).remaining
            daemon.write(watched.replace("burst: 10", "burst: 20"))  # another file in its place
            self.assertIn(f"reload by watch: {daemon.path} from ", daemon.wait_for("reload by "))
            self.assertEqual(remaining(), 20)
            pathlib.Path(daemon.path).write_text(watched.replace("burst: 10", "burst: 30"))  # the same one, written
            daemon.wait_for("reload by watch")
            self.assertEqual(remaining(), 30)
            pathlib.Path(daemon.folder, "another.yaml").write_text("nobody reads this")
            daemon.write(watched.replace("10/h", "none"))
            self.assertIn("; nothing was changed", daemon.wait_for("reload by watch"))
            self.assertEqual(remaining(), 30)
            elsewhere = pathlib.Path(daemon.folder, "v2.yaml")
            elsewhere.write_text(watched.replace("burst: 10", "burst: 40"))
            os.symlink("v2.yaml", daemon.path + ".link")
            os.rename(daemon.path + ".link", daemon.path)
            daemon.wait_for("reload by watch")
            self.assertEqual(remaining(), 40)
            os.unlink(daemon.path)
            daemon.write(BASE)
            daemon.wait_for("reload by watch")
            self.assertEqual(remaining(), 10)
            daemon.write(watched)  # nobody watches now
            self.assertIn("reload: signal -> watch", daemon.reload())
            self.assertEqual(sum("reload by watch" in line for line in daemon.said), 5)

    def test_without_a_file(self):
        with Daemon() as daemon:
            done = mete("reload", "--admin", daemon.admin)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("embedded default from ", done.stdout)


class Tenants(unittest.TestCase):
    def test_secrets_rotate(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, data in (("key", b"k" * 32), ("key2", b"K" * 32), ("old", b"o" * 32), ("new", b"n" * 32)):
            path = pathlib.Path(folder.name, name)
            path.write_bytes(data)
            path.chmod(0o600)

        def text(secrets, key="key"):
            return config(tenant("acme", BUCKET, more=f"    secret_files: [{secrets}]\n"),
                          more=f"key_file: {folder.name}/{key}\n").replace("[", f"[{folder.name}/").replace(", new", f", {folder.name}/new").replace(
                              ", old", f", {folder.name}/old")

        with Reloaded(text("old")) as daemon, Signed(daemon.address, "acme", b"o" * 32, 0) as client:
            used = lambda: {s["secret"]: s["used"] for s in daemon.stats()["secrets"]}
            self.assertEqual(client.check("api", b"a").remaining, 9)
            daemon.reload(text("new, old"))
            self.assertEqual(used(), {0: 0, 1: 2})
            with Signed(daemon.address, "acme", b"o" * 32, 1) as later, Signed(daemon.address, "acme", b"n" * 32, 0) as new:
                self.assertEqual(later.check("api", b"a").remaining, 8)
                self.assertEqual(new.check("api", b"a").remaining, 7)
                self.assertEqual(used(), {0: 2, 1: 4})
                daemon.reload(text("new"))
                self.assertEqual(used(), {0: 2})
                before = daemon.stats()["total"]["bad_tag"]
                later.send(later.make(wire.CHECK, "api", b"a"))
                self.assertEqual(new.check("api", b"a").remaining, 6)
                self.assertEqual(daemon.stats()["total"]["bad_tag"], before + 1)
                self.assertEqual(used(), {0: 3})
                daemon.write(text("new", "key2"))
                self.assertIn("key_file: holds another key", daemon.ask().stderr)
                self.assertEqual(new.check("api", b"a").remaining, 5)

    def test_limit_on_checks(self):
        """Of a tenant's flood as many checks are judged as it may ask for; the other tenant does not notice."""
        noisy = "    checks: 50/h\n"
        for workers in (1, 2):
            text = config(tenant("noisy", BUCKET, more=noisy), tenant("quiet", BUCKET))
            with self.subTest(workers=workers), Reloaded(text, workers=workers) as daemon:
                judged = refused = 0
                for i in range(100):
                    with daemon.client() as client:  # another flow each, so that every worker gets some
                        verdicts = [client.ask(client.request(wire.CHECK, "api", b"n%d" % i, tenant="noisy")) for _ in range(3)]
                        judged += sum(not v.flags & wire.STATUS for v in verdicts)
                        refused += sum(bool(v.flags & wire.STATUS) and v.detail == wire.LIMITED for v in verdicts)
                        self.assertEqual(client.check("api", b"q%d" % i, tenant="quiet").remaining, 9)
                self.assertEqual((judged, refused), (50, 250))
                stats = daemon.stats()
                self.assertEqual({t["tenant"]: t["limited"] for t in stats["tenants"]}, {"noisy": 250, "quiet": 0})
                self.assertEqual((stats["total"]["limited"], stats["total"]["checks"]), (250, 150))
                daemon.reload(text.replace("50/h", "100000/s"))
                with daemon.client() as client:
                    self.assertTrue(client.check("api", b"m", tenant="noisy").allowed)
                    daemon.reload(text.replace(noisy, ""))
                    self.assertTrue(client.check("api", b"m", tenant="noisy").allowed)
                self.assertEqual({t["tenant"]: t["limited"] for t in daemon.stats()["tenants"]}, {"noisy": 250, "quiet": 0})

    def test_overrides_have_rows_of_their_own(self):
        rule = ("name: api, algorithm: token_bucket, rate: 10/h, burst: 10, overrides: "
                "[{subject: vip, rate: 50/h}, {prefix: 'bot:', rate: 1/h}]")
        more = rule.replace("[{", "[{subject: aaa, rate: 7/h}, {")
        with Reloaded(config(tenant("default", rule))) as daemon, daemon.client() as client:

            def numbers():
                listed = [r for r in daemon.stats()["rules"] if r["rule"] == "api"][0]
                return {o.get("subject") or o.get("prefix"): (o["allowed"], o["denied"], o["units"], o["live"])
                        for o in [{"subject": "api", **listed}, *listed["overrides"]]}

            self.assertEqual(client.check("api", b"vip", 40).remaining, 10)
            self.assertEqual(client.check("api", b"bot:1", flags=wire.RAW_SUBJECT).remaining, 0)
            self.assertFalse(client.check("api", b"bot:1", flags=wire.RAW_SUBJECT).allowed)
            self.assertEqual(client.check("api", b"other", 3, flags=wire.RAW_SUBJECT).remaining, 7)
            spent = {"api": (1, 0, 3, 1), "vip": (1, 0, 40, 1), "bot:": (1, 1, 1, 1)}
            self.assertEqual(numbers(), spent)
            daemon.reload(config(tenant("default", more)))  # one more before the others
            self.assertEqual(numbers(), {**spent, "aaa": (0, 0, 0, 0)})
            self.assertEqual(client.check("api", b"vip", 0).remaining, 10)
            daemon.reload(config(tenant("default", rule.replace("vip", "another"))))
            self.assertEqual(client.check("api", b"vip", 0, flags=wire.RAW_SUBJECT).remaining, 10)  # of the rule's 10
            daemon.wait_live(2)
            rows = mete("stats", "--admin", daemon.admin).stdout.splitlines()
            self.assertTrue(any(row.split()[:2] == ["[another]", "0"] for row in rows), rows)


class Load:
    """Sends checks of one unit until it is told to stop, a window of them outstanding, and misses no answer."""

    WINDOW = 32

    def __init__(self, daemon, rule, number):
        self.daemon, self.rule, self.number = daemon, rule, number
        self.allowed = self.denied = 0
        self.stop, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            with self.daemon.client() as client:
                while not self.stop.is_set():
                    requests = [client.request(wire.CHECK, self.rule, b"s%d-%d" % (self.number, i % 8))
                                for i in range(self.WINDOW)]
                    for request in requests:
                        client.send(request)
                    for request in requests:
                        verdict = client.receive(request).entries[0]
                        assert verdict.status == wire.OK, verdict
                        self.allowed += verdict.allowed
                        self.denied += not verdict.allowed
        except BaseException as error:  # told in the test's thread
            self.error = error

    def finish(self):
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert self.error is None, self.error
        return self.allowed + self.denied


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


class UnderLoad(unittest.TestCase):
    def texts(self):
        """Numbers, algorithm, tenants and rules change from one to the next."""
        kinds = ("algorithm: token_bucket, rate: 100000/s, burst: 1000", "algorithm: token_bucket, rate: 50/s, burst: 5",
                 "algorithm: fixed_window, limit: 1000/1s", "algorithm: sliding_window, limit: 100/2s")
        steady = "name: steady, algorithm: fixed_window, limit: 1000000/3650d"
        return [config(tenant("default", steady, f"name: api, {kind}",
                              *(f"name: extra{j}, algorithm: deny" for j in range(i * 20))),
                       *(tenant(f"t{j}", BUCKET) for j in range(i * 10))) for i, kind in enumerate(kinds)]

    def test_no_answer_is_lost(self):
        texts = self.texts()
        for backend in BACKENDS:
            with self.subTest(backend=backend), Reloaded(texts[0], backend=backend, workers=2) as daemon:
                loads = [Load(daemon, rule, i) for i, rule in enumerate(("api", "steady", "api", "steady"))]
                for i in range(RELOADS):
                    daemon.reload(texts[(i + 1) % len(texts)])
                asked = {rule: sum(load.finish() for load in loads if load.rule == rule) for rule in ("api", "steady")}
                stats = daemon.stats()
                counted = {r["rule"]: r["allowed"] + r["denied"] for r in stats["rules"] if r["tenant"] == "default"}
                self.assertEqual({rule: counted[rule] for rule in asked}, asked)
                # a rule that never changed charged every unit once, whatever went on around it
                with daemon.client() as client:
                    for load in loads:
                        if load.rule == "steady":
                            spent = sum(1000000 - client.check("steady", b"s%d-%d" % (load.number, i), 0).remaining
                                        for i in range(8))
                            self.assertEqual(spent, load.allowed)
                self.assertEqual(stats["total"]["received"], stats["total"]["answered"])

    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory, and judges leaks itself")
    def test_memory_stays(self):
        texts = self.texts()
        with Reloaded(texts[0], workers=2) as daemon:
            for i in range(20):
                daemon.reload(texts[i % len(texts)])
            before = resident_kib(daemon.process.pid)
            for i in range(4 * RELOADS):
                daemon.reload(texts[i % len(texts)])
            self.assertLess(resident_kib(daemon.process.pid) - before, 512)


if __name__ == "__main__":
    unittest.main()
