"""`mete check`: what it prints, its JSON and its exit status, against a server that answers by script (right, wrong, late or
not at all) and against the real one."""
import json
import os
import socket
import subprocess
import tempfile
import unittest

from client_servers import METE, Daemon, StandIn, answer, status, w

V = w.Verdict
PATIENCE_MS = 30000


def check(*arguments, server=None):
    """Whoever answers is waited for, however crowded the machine; meanwhile the same datagram may come again."""
    at = ["--server", server] if server else []
    if server and "--timeout" not in arguments:
        at += ["--timeout", str(PATIENCE_MS)]
    done = subprocess.run([METE, "check", *arguments, *at], capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def always(*verdicts):
    return lambda request: [answer(request, verdicts)]


def distinct(requests):
    """Those that are no repeats."""
    return list({request.sequence: request for request in requests}.values())


class Answers(unittest.TestCase):
    def one(self, verdict, *arguments):
        with StandIn(always(verdict)) as server:
            result = check("demo", "alice", *arguments, server=server.address)
            [self.request] = distinct(server.requests)
            return result

    def test_lines(self):
        allow = w.ALLOW
        cases = [
            (V(flags=allow, remaining=9, reset_after=500000), 0, "allowed  9 left, full again in 500ms\n"),
            (V(retry_after=499900, reset_after=5000000), 1,
             "denied  0 left, retry after 499.9ms, full again in 5s\n"),
            (V(retry_after=499901, reset_after=5000001), 1,
             "denied  0 left, retry after 500ms, full again in 5.1s\n"),
            (V(retry_after=250, reset_after=125, reset_unit=w.UNIT_S), 1,
             "denied  0 left, retry after 250us, full again in 2m 5s\n"),
            (V(retry_after=86400, retry_unit=w.UNIT_S, reset_after=12000, reset_unit=w.UNIT_S), 1,
             "denied  0 left, retry after 1d 0h, full again in 3h 20m\n"),
            (V(retry_after=w.NEVER), 1, "denied  0 left, never: the rule lets nothing pass\n"),
            (V(flags=allow, remaining=0xFFFFFFFF), 0, "allowed  no limit\n"),
            (V(flags=allow | w.DELAY, remaining=3, retry_after=200, retry_unit=w.UNIT_MS), 0,
             "allowed  3 left, serve after 200ms\n"),
            (V(flags=allow | w.WOULD_DENY | w.DEGRADED), 0,
             "allowed  0 left, shadow rule: would be denied, decided without the other nodes\n"),
            (V(status=w.TABLE_FULL, flags=allow), 0,
             "allowed  undecided: the server's table is full, and this is what it does then\n"),
        ]
        for verdict, exit_status, line in cases:
            with self.subTest(line):
                self.assertEqual(self.one(verdict), (exit_status, line, ""))
        self.assertEqual(self.request.entries[0].subject, b"alice")
        self.assertEqual(self.request.entries[0].cost, 1)
        self.assertEqual(self.request.tenant_id, w.name_id("default"))

    def test_options(self):
        never = V(remaining=5, retry_after=w.NEVER, reset_after=1000)
        self.assertEqual(self.one(never, "--cost", "6", "--tenant", "acme"),
                         (1, "denied  5 left, never: cost 6 exceeds what can ever pass at once\n", ""))
        self.assertEqual(self.request.entries[0].cost, 6)
        self.assertEqual(self.request.tenant_id, w.name_id("acme"))
        granted = V(flags=w.ALLOW | w.GRANTED, retry_after=3, retry_unit=w.UNIT_COST)
        self.assertEqual(self.one(granted, "--at-most", "--cost=5"), (0, "allowed  3 of 5 granted, 0 left\n", ""))
        self.assertEqual(self.request.flags, w.AT_MOST | w.RAW_SUBJECT)
        full = V(flags=w.ALLOW, remaining=10)
        self.assertEqual(self.one(full, "--refund"), (0, "refunded  10 left\n", ""))
        self.assertEqual(self.request.type, w.REFUND)
        self.assertEqual(self.one(full, "--reset"), (0, "reset  10 left\n", ""))
        self.assertEqual(self.request.type, w.RESET)
        self.assertEqual(self.one(full, "--peek"), (0, "allowed  10 left\n", ""))
        self.assertEqual(self.request.flags, w.PEEK | w.RAW_SUBJECT)

    def test_json(self):
        exit_status, out, err = self.one(V(remaining=5, retry_after=w.NEVER, reset_after=1000), "--json")
        self.assertEqual((exit_status, err, out.count("\n")), (1, "", 1))
        self.assertEqual(json.loads(out), {
            "rule": "demo", "subject": "alice", "cost": 1, "allowed": False, "status": "ok", "remaining": 5,
            "granted": 0, "delay_us": 0, "retry_after_us": None, "reset_after_us": 1000, "source": "server"})
        self.assertIs(json.loads(self.one(V(flags=w.DEGRADED), "--json")[1])["degraded"], True)
        with StandIn(always(V(flags=w.ALLOW))) as server:
            done = subprocess.run([METE, "check", "--json", "--server", server.address, "--", "demo", b'-"\xff\n'],
                                  capture_output=True)
            self.assertEqual(json.loads(done.stdout)["subject"], '-"\xff\n')
            self.assertEqual(server.requests[0].entries[0].subject, b'-"\xff\n')

    def test_long_subject_and_ipv6(self):
        subject = "s" * 3000
        with StandIn(always(V(flags=w.ALLOW)), socket.AF_INET6) as server:
            self.assertEqual(check("demo", subject, server=server.address)[0], 0)
            self.assertEqual(server.requests[0].entries[0].key,
                             w.subject_key(subject.encode(), w.tenant_seed("default")))


class Secrets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def secret_file(self, content, mode=0o600):
        path = os.path.join(self.folder, "secret")
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def test_signed(self):
        for content, secret in ((b"of the tenant\n", b"of the tenant"), (b"0f" * 32 + b"\n", b"\x0f" * 32)):
            with StandIn(always(V(flags=w.ALLOW, remaining=3)), secret=secret) as server:
                result = check("demo", "alice", "--secret-file", self.secret_file(content), server=server.address)
            self.assertEqual(result, (0, "allowed  3 left\n", ""))
            self.assertEqual(server.requests[0].secret, 0)
            self.assertEqual(server.requests[0].boot_bits, 7)
            self.assertEqual(server.requests[0].entries[0].key, w.subject_key(b"alice", w.tenant_seed("default")))

    def test_not_its_secret(self):
        path = self.secret_file(b"another")
        with StandIn(always(V(flags=w.ALLOW)), secret=b"of the tenant") as server:
            exit_status, out, err = check("demo", "alice", "--timeout", "50", "--secret-file", path, server=server.address)
        self.assertEqual((exit_status, out), (3, ""))
        self.assertEqual(err, f"mete check: no answer from {server.address} within 50 ms; is the server running, "
                              "has it a tenant 'default', and is that its secret?\n")

    def test_bad_files(self):
        for content, mode, problem in ((b"", 0o600, "is empty; a secret has 1 to 64 bytes, `mete secret new` makes one"),
                                       (b"x" * 65, 0o600, "is too long; a secret has 1 to 64 bytes, "
                                                          "`mete secret new` makes one"),
                                       (b"x", 0o644, "may be used by others than its owner (mode 0644); chmod 600 it")):
            path = self.secret_file(content, mode)
            self.assertEqual(check("demo", "alice", "--secret-file", path),
                             (2, "", f"mete check: --secret-file: {path} {problem}\n"))


class SeveralServers(unittest.TestCase):
    def test_each_subject_has_its_own(self):
        """The same one each time, and the others when it is gone."""
        servers = [StandIn(always(V(flags=w.ALLOW, remaining=index))) for index in range(3)]
        with servers[0], servers[1], servers[2]:
            addresses = ",".join(server.address for server in servers)
            for subject in ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"):
                first, again = (check("demo", subject, server=addresses) for _ in range(2))
                self.assertEqual(first[0], 0)
                self.assertEqual(first, again)
        self.assertGreater(sum(bool(server.requests) for server in servers), 1)
        self.assertEqual(check("demo", "alice", server=addresses)[0], 3)
        with StandIn(always(V(flags=w.ALLOW, remaining=7))) as last:
            for subject in ("alice", "bob", "carol", "dave"):
                self.assertEqual(check("demo", subject, server=f"{addresses},{last.address}"), (0, "allowed  7 left\n", ""))


class NoDecision(unittest.TestCase):
    def silent(self, script):
        """The script's datagrams are no answer: exit 3 after the time-out."""
        with StandIn(script) as server:
            exit_status, out, err = check("demo", "alice", "--timeout", "50", server=server.address)
        self.assertEqual((exit_status, out), (3, ""))
        self.assertEqual(err, f"mete check: no answer from {server.address} within 50 ms; is the server running, "
                              "has it a tenant 'default', and does it trust this address?\n")

    def test_hostile_answers(self):
        def changed(at, value):
            def script(request):
                data = bytearray(answer(request, [V(flags=w.ALLOW)]))
                data[at] ^= value
                return [bytes(data)]
            return script

        self.silent(lambda request: [])
        self.silent(lambda request: [b"", b"x", bytes(40), bytes(1300)])
        self.silent(changed(-1, 1))
        self.silent(changed(-8, 1))
        self.silent(lambda request: [answer(request, [V(flags=w.ALLOW)], sequence=request.sequence + 1)])
        self.silent(lambda request: [answer(request, [V(flags=w.ALLOW)], type=w.REFUND | 0x80)])
        self.silent(lambda request: [answer(request, [V(flags=w.ALLOW)] * 2)])
        self.silent(lambda request: [answer(request, flags=w.MIN, allowed=[True])])
        self.silent(lambda request: [answer(request, type=w.RESTARTED)])

    def test_nobody_listens(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % free.getsockname()[1]
        exit_status, out, err = check("demo", "alice", server=address)
        self.assertEqual((exit_status, out), (3, ""))
        self.assertEqual(err, f"mete check: no answer from {address}: nobody listens there; is the server running?\n")
        exit_status, out, _ = check("demo", "alice", "--json", server=address)
        self.assertEqual((exit_status, json.loads(out)["allowed"], json.loads(out)["source"]), (3, None, "send"))

    def test_statuses(self):
        for number, message in [(w.UNKNOWN_RULE, "the server has no rule 'demo' for tenant 'default'"),
                                (w.BAD_LIMIT, "the server decided nothing: status bad_limit (2)"),
                                (99, "the server decided nothing: status unknown_status (99)")]:
            with StandIn(always(V(status=number))) as server:
                self.assertEqual(check("demo", "alice", server=server.address), (2, "", f"mete check: {message}\n"))
        with StandIn(lambda request: [status(request, w.UNSUPPORTED)]) as server:
            self.assertEqual(check("demo", "alice", "--at-most", server=server.address)[:2], (2, ""))

    def test_asked_again(self):
        def needs_subject(request):
            return [answer(request, [V(flags=w.ALLOW, remaining=1) if request.flags & w.RAW_SUBJECT else
                                     V(status=w.NEED_SUBJECT)])]

        def stale_once(request):
            return [answer(request, [V(flags=w.ALLOW)], clock_ms=500)] if request.clock_ms >= 500 else \
                [answer(request, flags=w.STATUS, detail=w.STALE, clock_ms=500)]

        with StandIn(needs_subject) as server:
            self.assertEqual(check("demo", "alice", server=server.address)[0], 0)
            exit_status, _, err = check("demo", "a" * 200, server=server.address)
            self.assertEqual((exit_status, err),
                             (2, "mete check: rule 'demo' must see the subject, which is too long to send\n"))
        with StandIn(stale_once) as server:
            self.assertEqual(check("demo", "alice", server=server.address)[0], 0)
            first, second = distinct(server.requests)
            self.assertEqual(second.sequence, first.sequence + 2 & 0xFFFFFFFF)


class WrongUse(unittest.TestCase):
    def test_messages(self):
        for arguments, message in [
                ([], "needs RULE and SUBJECT, not 0 words; `mete check --help`"),
                (["demo"], "needs RULE and SUBJECT, not 1 words; `mete check --help`"),
                (["demo", ""], "the subject is empty"),
                (["", "a"], "the rule is empty"),
                (["demo", "a", "--cost", "-1"], "--cost: '-1' is not a whole number from 0 to 4294967295"),
                (["demo", "a", "--cost", "4294967296"],
                 "--cost: '4294967296' is not a whole number from 0 to 4294967295"),
                (["demo", "a", "--timeout", "0"], "--timeout: '0' is not a whole number from 1 to 4000000"),
                (["demo", "a", "--colour"], "--colour: no such option; see mete check --help"),
                (["demo", "a", "-x"], "-x: no such option; see mete check --help"),
                (["demo", "a", "--tenat", "x"], "--tenat: no such option; did you mean --tenant?"),
                (["demo", "a", "--csot=3"], "--csot: no such option; did you mean --cost?"),
                (["demo", "a", "--json=yes"], "--json takes no value; see mete check --help"),
                (["demo", "a", "--cost"],
                 "--cost: its value is missing; see mete check --help"),
                (["demo", "a", "--secret-file", "/nowhere/f"],
                 "--secret-file: /nowhere/f cannot be read: No such file or directory"),
                (["demo", "a", "--refund", "--peek"], "--refund, --reset and --peek or --at-most exclude each other"),
                (["demo", "a", "--server", "127.0.0.1:0"],
                 "--server: '127.0.0.1:0' is not HOST:PORT, or there is no such host")]:
            with self.subTest(arguments):
                self.assertEqual(check(*arguments), (2, "", f"mete check: {message}\n"))

    def test_help(self):
        exit_status, out, err = check("--help")
        self.assertEqual((exit_status, err), (0, ""))
        for option in ("--cost", "--server", "--tenant", "--secret-file", "--timeout", "--peek", "--at-most", "--refund", "--reset",
                       "--json", "exit status"):
            self.assertIn(option, out)


class RealServer(unittest.TestCase):
    def test_demo(self):
        with Daemon() as daemon:
            codes = [check("demo", "alice", server=daemon.address)[0] for _ in range(11)]
            self.assertEqual(codes[:10], [0] * 10)
            exit_status, out, _ = check("demo", "alice", "--cost", "11", "--json", server=daemon.address)
            self.assertEqual((exit_status, json.loads(out)["retry_after_us"]), (1, None))
            self.assertEqual(check("demo", "alice", "--reset", server=daemon.address)[0], 0)
            self.assertEqual(json.loads(check("demo", "alice", "--peek", "--json", server=daemon.address)[1])["remaining"],
                             10)
            exit_status, out, _ = check("demo", "alice", "--at-most", "--cost", "30", server=daemon.address)
            # What is left is 0, or more if the answer is a repeat's: the bucket has filled since.
            self.assertEqual(exit_status, 0)
            self.assertRegex(out, r"^allowed  10 of 30 granted, \d left")
            self.assertEqual(check("demo", "alice", "--refund", "--cost", "4", server=daemon.address)[0], 0)
            # The raw subject of a short one and the key of the same bytes are one bucket; long ones go as keys.
            self.assertEqual(check("demo", "x" * 500, server=daemon.address)[0], 0)
            exit_status, _, err = check("nosuch", "alice", server=daemon.address)
            self.assertEqual((exit_status, err),
                             (2, "mete check: the server has no rule 'nosuch' for tenant 'default'\n"))


if __name__ == "__main__":
    unittest.main()
