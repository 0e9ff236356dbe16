#!/usr/bin/env python3
"""`mete config` by the real binary: a table of broken files, each with the line, the field and the
words that its message must have; what is accepted; who is stronger than whom; that what `show`
prints is accepted and means the same. $METE_BUILD says where the binary lies, else build/check."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("METE_BUILD") or os.path.join(ROOT, "build", "check")
METE = os.path.join(ROOT, BUILD, "mete")

TENANT = "tenants: [{name: a, rules: []}]\n"


def rule(text):
    """A file whose third line is a rule with these fields."""
    return "tenants:\n  - {name: a, rules: [\n    {name: r, " + text + "}]}\n"


def key(text):
    """A file whose third line is an API key with these fields."""
    return "tenants:\n  - {name: a, api_keys: [\n    {" + text + "}]}\n"


R, O, K = "tenants[0].rules[0]", "tenants[0].rules[0].overrides[0]", "tenants[0].api_keys[0]"
BUCKET = "algorithm: token_bucket, rate: 1/s, "
HASH = "0123456789abcdef" * 4

# (what, text, line or None, field, phrase)
BROKEN = [
    # The text itself.
    ("no YAML", "tenants: [\n", 2, "", "not YAML"),
    ("bare IPv6", "listen:\n  udp: [::1]:6383\n" + TENANT, 2, "", "needs quotes"),
    ("tab", "listen:\n\tudp: x\n", 2, "", "not YAML"),
    ("equal keys", "workers: 1\nworkers: 2\n" + TENANT, 2, "workers", "twice"),
    ("equal keys inside", "listen:\n  udp: 127.0.0.1:1\n  udp: 127.0.0.1:2\n" + TENANT, 3,
     "listen.udp", "twice"),
    ("anchor", "workers: &w 1\n" + TENANT, 1, "workers", "anchor"),
    ("anchor of a list", "tenants:\n  - name: a\n    rules: &r []\n", 3, "tenants[0].rules",
     "anchor"),
    ("alias", "workers: *w\n" + TENANT, 1, "workers", "alias"),
    ("tag", "workers: !!int 1\n" + TENANT, 1, "workers", "tag"),
    ("directive", "# x\n%TAG !a! x\n---\n" + TENANT, 2, "", "directives"),
    ("many values", "redis: [" + "a," * 1048576 + "]\n", 1, "redis", "at most 1048576"),
    ("merge key", "tenants:\n  - <<: {name: a}\n", 2, "tenants[0].<<", "unknown field"),
    ("two documents", TENANT + "---\n" + TENANT, 2, "", "second document"),
    ("deep", "redis: " + "[" * 40 + "]" * 40 + "\n", 1, "redis" + "[0]" * 14, "nested deeper"),
    ("many keys", "".join("k%d: 1\n" % i for i in range(300)), 257, "k256", "at most 256"),
    ("letters beyond ASCII", "namespace: caf\u00e9\n" + TENANT, 1, "namespace", "ASCII"),
    ("zero byte", 'namespace: "a\\0b"\n' + TENANT, 1, "namespace", "control character"),
    ("name is a list", "? [a]\n: b\n", 1, "", "field's name"),
    ("empty file", "", 1, "tenants", "at least one"),
    ("only a comment", "# nothing\n", 1, "tenants", "at least one"),
    ("a scalar", "hello\n", 1, "", "mapping"),
    ("a list", "- a\n", 1, "", "mapping"),
    # The top level.
    ("unknown field", "wrokers: 1\n" + TENANT, 1, "wrokers", "did you mean 'workers'"),
    ("unknown, nothing near", "\ncolour: red\n" + TENANT, 2, "colour", "unknown field; one of"),
    ("unknown in a section", "table:\n  entires: 5\n" + TENANT, 2, "table.entires",
     "did you mean 'entries'"),
    ("dotted", "listen.udp: 127.0.0.1:1\n" + TENANT, 1, "listen.udp", "unknown field"),
    ("section is a value", "listen: 127.0.0.1:6383\n" + TENANT, 1, "listen", "a mapping is needed"),
    ("empty section", "listen:\n" + TENANT, 1, "listen", "empty"),
    ("namespace with blank", "namespace: a b\n" + TENANT, 1, "namespace", "blank"),
    ("no port", "listen: {udp: 127.0.0.1}\n" + TENANT, 1, "listen.udp", "ADDRESS:PORT"),
    ("big port", "listen: {udp: 127.0.0.1:65536}\n" + TENANT, 1, "listen.udp", "0 to 65535"),
    ("host name", "listen: {udp: localhost:6383}\n" + TENANT, 1, "listen.udp", "not resolved"),
    ("bad address", "listen:\n  udp:\n    - 127.0.0.1:1\n    - 300.0.0.1:1\n" + TENANT, 4,
     "listen.udp[1]", "300.0.0.1:1"),
    ("long host", "listen: {udp: %s:1}\n" % ("1" * 4000) + TENANT, 1, "listen.udp",
     "ADDRESS:PORT"),
    ("no brackets", 'listen: {udp: "::1:6383"}\n' + TENANT, 1, "listen.udp", "[IPv6]"),
    ("address twice", "listen: {udp: [127.0.0.1:1, 127.0.0.1:1]}\n" + TENANT, 1, "listen.udp[1]",
     "twice"),
    ("no address", "listen: {udp: []}\n" + TENANT, 1, "listen.udp", "at least one"),
    ("nine addresses", "listen: {udp: [%s]}\n" % ", ".join("127.0.0.1:%d" % (i + 1)
                                                         for i in range(9)) + TENANT,
     1, "listen.udp[8]", "at most 8"),
    ("long path", "listen: {admin: /%s}\n" % ("x" * 200) + TENANT, 1, "listen.admin",
     "at most 107"),
    ("path is a list", "listen: {admin: [a]}\n" + TENANT, 1, "listen.admin", "single value"),
    ("resp without port", "listen: {resp: 127.0.0.1}\n" + TENANT, 1, "listen.resp", "ADDRESS:PORT"),
    ("resp list", "listen: {resp: [127.0.0.1:1]}\n" + TENANT, 1, "listen.resp", "single value"),
    ("resp on admin's path", "listen: {resp: /run/x, admin: /run/x}\n" + TENANT, 0, "listen.resp", "they differ"),
    ("no connections", "doors: {connections: 0}\n" + TENANT, 1, "doors.connections", "1 to 65536"),
    ("no patience", "doors: {idle: 0}\n" + TENANT, 1, "doors.idle", "a time from"),
    ("one path for two", "listen: {unix: /run/x, admin: /run/x}\n" + TENANT, 0, "listen.unix", "they differ"),
    ("repeats", "repeats: 200ms\n" + TENANT, 1, "repeats", "a mapping"),
    ("window without unit", "repeats: {window: 200}\n" + TENANT, 1, "repeats.window", "a time from 0 to 10s"),
    ("long window", "repeats: {window: 11s}\n" + TENANT, 1, "repeats.window", "'11s' is not a time from 0 to 10s"),
    ("endless window", "repeats: {window: 99999999999999d}\n" + TENANT, 1, "repeats.window", "0 to 10s"),
    ("ahead", "repeats: {ahead: -1ms}\n" + TENANT, 1, "repeats.ahead", "a time from"),
    ("repeat memory", "repeats: {memory: 8MB}\n" + TENANT, 1, "repeats.memory", "a size from 64KiB to 1GiB"),
    ("little repeat memory", "repeats: {memory: 65535}\n" + TENANT, 1, "repeats.memory", "64KiB to 1GiB"),
    ("reload", "reload: always\n" + TENANT, 1, "reload", "one of signal, watch"),
    ("missing key", "key_file: /no/key\n" + TENANT, 1, "key_file", "/no/key cannot be read: No such file"),
    ("key is a list", "key_file: [a]\n" + TENANT, 1, "key_file", "single value"),
    ("key is a folder", "key_file: /\n" + TENANT, 1, "key_file", "/ is not a regular file"),
    ("nobody to believe", "listen: {udp: [127.0.0.1:1, 192.0.2.1:1]}\ntenants:\n  - name: a\n", 3,
     "tenants[0].secret_files", "listen.udp 192.0.2.1:1 is reached from beyond loopback, so tenant 'a' needs"),
    ("long interface", "listen: {interface: abcdefghijklmnop}\n" + TENANT, 1, "listen.interface", "no name of an interface"),
    ("way onto an interface", "af_xdp: {mode: fast}\n" + TENANT, 1, "af_xdp.mode", "one of auto, native, generic"),
    ("frames that wait", "af_xdp: {ring: 1000}\n" + TENANT, 0, "af_xdp.ring", "no power of two"),
    ("vlan", "af_xdp: {vlan: 4095}\n" + TENANT, 1, "af_xdp.vlan", "0 to 4094"),
    ("network", "trusted_networks: [nowhere]\n" + TENANT, 1, "trusted_networks[0]", "10.0.0.0/8"),
    ("prefix", "trusted_networks: [10.0.0.0/33]\n" + TENANT, 1, "trusted_networks[0]", "0 to 32"),
    ("host bits", "trusted_networks: [10.1.2.3/8]\n" + TENANT, 1, "trusted_networks[0]",
     "the network is 10.0.0.0/8"),
    ("no workers", "workers: 0\n" + TENANT, 1, "workers", "from 1 to 256"),
    ("too many workers", "workers: 257\n" + TENANT, 1, "workers", "from 1 to 256"),
    ("backend", "backend: epoll\n" + TENANT, 1, "backend", "one of auto, io_uring, mmsg"),
    ("few entries", "table:\n  entries: 15\n" + TENANT, 2, "table.entries", "from 16"),
    ("entries in words", "table:\n  entries: many\n" + TENANT, 2, "table.entries", "'many'"),
    ("negative entries", "table:\n  entries: -1\n" + TENANT, 2, "table.entries", "'-1'"),
    ("bad table file", "table:\n  on_bad_file: mend\n" + TENANT, 2, "table.on_bad_file", "start, refuse"),
    ("snapshot", "table:\n  snapshot_every: 1ms\n" + TENANT, 2, "table.snapshot_every", "1s"),
    ("on_full", "table:\n  on_full: panic\n" + TENANT, 2, "table.on_full", "evict, allow, deny"),
    # Tiers and tenants.
    ("no tenants", "workers: 1\n", 1, "tenants", "at least one is needed"),
    ("empty tenants", "workers: 1\ntenants: []\n", 2, "tenants", "at least one is needed"),
    ("tenants is a mapping", "tenants: {name: a}\n", 1, "tenants", "a list of tenants"),
    ("no name", "tenants:\n  - rules: []\n", 2, "tenants[0].name", "missing"),
    ("long name", "tenants: [{name: %s}]\n" % ("n" * 65), 1, "tenants[0].name", "at most 64"),
    ("equal tenants", "tenants:\n  - name: a\n  - name: b\n  - name: a\n", 4, "tenants[2].name",
     "already the name of tenants[0]"),
    ("equal tenant ids", "tenants:\n  - {name: a, id: 7}\n  - {name: b, id: 7}\n", 3, "tenants[1]",
     "set `id`"),
    ("id 0", "tenants:\n  - {name: a, id: 0}\n", 2, "tenants[0].id", "from 1 to 4294967295"),
    ("name that hashes to 0", "tenants:\n  - name: b0ccrhg\n", 2,
     "tenants[0].name", "id 0"),
    ("unknown tier", "tiers: {free: {rules: []}}\ntenants:\n  - {name: a, tier: fre}\n", 3,
     "tenants[0].tier", "did you mean 'free'"),
    ("no tiers", "tenants:\n  - {name: a, tier: gold}\n", 2, "tenants[0].tier", "not under tiers"),
    ("tier without rules", "tiers:\n  free: {}\n" + TENANT, 2, "tiers.free.rules", "missing"),
    ("equal rules in a tier", "tiers:\n  t:\n    rules:\n      - {name: x, algorithm: deny}\n"
     "      - {name: x, algorithm: deny}\n" + TENANT, 5, "tiers.t.rules[1].name", "already"),
    ("api keys are a value", "tenants:\n  - name: a\n    api_keys: x\n", 3, "tenants[0].api_keys", "a list"),
    ("api key without hash", key("name: ci, may: check"), 3, K + ".sha256", "missing"),
    ("api key without rights", key("name: ci, sha256: %s" % HASH), 3, K + ".may", "missing"),
    ("api key that may nothing", key("name: ci, sha256: %s, may: []" % HASH), 3, K + ".may", "empty list"),
    ("api key that may twice", key("name: ci, sha256: %s, may: [check, check]" % HASH), 3, K + ".may[1]", "twice"),
    ("right", key("name: ci, sha256: %s, may: [chekc]" % HASH), 3, K + ".may[0]", "one of check, manage"),
    ("short hash", key("name: ci, sha256: %s, may: check" % HASH[1:]), 3, K + ".sha256", "is not 64 hex digits"),
    ("hash of other letters", key("name: ci, sha256: g%s, may: check" % HASH[1:]), 3, K + ".sha256", "64 hex digits"),
    ("equal key names", key("name: ci, sha256: %s, may: check},\n  {name: ci, sha256: %s, may: check" %
                            (HASH, HASH[::-1])), 4, "tenants[0].api_keys[1].name", "already the name of api_keys[0]"),
    ("equal hashes", key("name: ci, sha256: %s, may: check" % HASH) + "  - {name: b, api_keys: [\n    {name: x, sha256: "
     "%s, may: manage}]}\n" % HASH.upper(), 5, "tenants[1].api_keys[0].sha256", "same key as one of tenant 'a' (line 3)"),
    ("many api keys", "tenants: [{name: a, api_keys: [%s]}]\n" % ", ".join(["{}"] * 65), 1, "tenants[0].api_keys",
     "at most 64"),
    ("checks", "tenants:\n  - name: a\n    checks: fast\n", 3, "tenants[0].checks", "COUNT/[N]UNIT"),
    ("checks without rate", "tenants:\n  - name: a\n    checks: {burst: 5}\n", 3, "tenants[0].checks.rate", "missing"),
    ("burst of checks", "tenants:\n  - name: a\n    checks: {rate: 1/s, burst: 0}\n", 3, "tenants[0].checks.burst",
     "from 1"),
    ("checks as a list", "tenants:\n  - name: a\n    checks: [1/s]\n", 3, "tenants[0].checks", "single value"),
    ("many secrets", "tenants:\n  - name: a\n    secret_files: [x, y, z]\n", 3, "tenants[0].secret_files", "at most 2"),
    ("missing secret", "tenants:\n  - name: a\n    secret_files: [/no/x]\n", 3, "tenants[0].secret_files[0]",
     "/no/x cannot be read: No such file"),
    ("secret in a mapping", "tenants:\n  - name: a\n    secret_files: {x: y}\n", 3, "tenants[0].secret_files",
     "single value"),
    ("small region", "tenants:\n  - {name: a, entries: 15}\n", 2, "tenants[0].entries",
     "at least 16"),
    ("large region", "table: {entries: 64}\ntenants:\n  - {name: a, entries: 32}\n"
     "  - {name: b, entries: 20}\n", 4, "tenants[1].entries",
     "need 52 entries; table.entries is 64"),
    ("regions are whole groups", "table: {entries: 52}\ntenants:\n  - {name: a, entries: 17}\n"
     "  - {name: b, entries: 17}\n", 4, "tenants[1].entries", "need 40 entries"),
    ("nearest tier", "tiers: {golf: {rules: []}, gold: {rules: []}}\ntenants:\n"
     "  - {name: a, tier: goldd}\n", 3, "tenants[0].tier", "did you mean 'gold'"),
    ("rules is a value", "tenants:\n  - name: a\n    rules: x\n", 3, "tenants[0].rules", "a list"),
    # Rules.
    ("rule is a value", "tenants:\n  - name: a\n    rules: [x]\n", 3, R, "a mapping is needed"),
    ("unit", rule("algorithm: token_bucket, rate: 10/x"), 3, R + ".rate",
     "'10/x' has unit 'x'; one of ms, s, m, h, d"),
    ("no unit", rule("algorithm: token_bucket, rate: 10/5"), 3, R + ".rate", "no unit"),
    ("no rate at all", rule("algorithm: token_bucket, rate: fast"), 3, R + ".rate",
     "COUNT/[N]UNIT"),
    ("count 0", rule("algorithm: token_bucket, rate: 0/s"), 3, R + ".rate", "count that is 0"),
    ("period 0", rule("algorithm: token_bucket, rate: 1/0s"), 3, R + ".rate", "period that is 0"),
    ("huge count", rule("algorithm: token_bucket, rate: 99999999999999999999/s"), 3, R + ".rate",
     "beyond 64 bits"),
    ("huge period", rule("algorithm: token_bucket, rate: 1/999999999999d"), 3, R + ".rate",
     "584 years"),
    ("missing rate", rule("algorithm: token_bucket, burst: 1"), 3, R + ".rate", "missing"),
    ("missing limit", rule("algorithm: fixed_window"), 3, R + ".limit", "missing"),
    ("missing algorithm", rule("rate: 1/s"), 3, R + ".algorithm", "missing"),
    ("algorithm", rule("algorithm: tokenbucket, rate: 1/s"), 3, R + ".algorithm",
     "did you mean 'token_bucket'"),
    ("algorithm, nothing near", rule("algorithm: magic, rate: 1/s"), 3, R + ".algorithm",
     "one of token_bucket"),
    ("concurrency without a lease", rule("algorithm: concurrency, limit: 3"), 3, R + ".lease", "is missing; how long"),
    ("concurrency without a limit", rule("algorithm: concurrency, lease: 3s"), 3, R + ".limit",
     "is missing; algorithm concurrency takes limit and lease"),
    ("concurrency with a rate", rule("algorithm: concurrency, limit: 3, lease: 3s, rate: 1/s"), 3, R + ".rate",
     "takes limit and lease, not rate"),
    ("concurrency over time", rule("algorithm: concurrency, limit: 3/s, lease: 3s"), 3, R + ".limit",
     "whole number"),
    ("no slots", rule("algorithm: concurrency, limit: 0, lease: 3s"), 3, R + ".limit", "from 1 to 1048575"),
    ("too many slots", rule("algorithm: concurrency, limit: 1048576, lease: 3s"), 3, R + ".limit", "from 1 to 1048575"),
    ("short lease", rule("algorithm: concurrency, limit: 3, lease: 9ms"), 3, R + ".lease", "from 10ms to 7d"),
    ("long lease", rule("algorithm: concurrency, limit: 3, lease: 8d"), 3, R + ".lease", "from 10ms to 7d"),
    ("lease of an override", rule("algorithm: concurrency, limit: 3, lease: 3s, overrides: [{subject: a, lease: 4s}]"),
     3, R + ".overrides[0].lease", "unknown field"),
    ("calendar without per", rule("algorithm: calendar, limit: 5"), 3, R + ".per", "is missing; a calendar's period"),
    ("calendar without limit", rule("algorithm: calendar, per: day"), 3, R + ".limit", "missing"),
    ("calendar of days", rule("algorithm: calendar, limit: 5, per: 3 days"), 3, R + ".per", "'3 days' has a count"),
    ("calendar of hours", rule("algorithm: calendar, limit: 5, per: hour"), 3, R + ".per", "not one of day, week"),
    ("calendar's rate", rule("algorithm: calendar, rate: 5/d, per: day"), 3, R + ".rate", "takes limit, per and time_zone"),
    ("calendar's limit", rule("algorithm: calendar, limit: 5/d, per: day"), 3, R + ".limit", "whole number"),
    ("calendar of none", rule("algorithm: calendar, limit: 0, per: day"), 3, R + ".limit", "from 1 to 4294967295"),
    ("calendar's zone", rule("algorithm: calendar, limit: 5, per: day, time_zone: Mars/Base"), 3, R + ".time_zone",
     "'Mars/Base' cannot be read from"),
    ("calendar's override", rule("algorithm: calendar, limit: 5, per: day, overrides: [{subject: a, limit: 5/d}]"), 3,
     O + ".limit", "whole number"),
    ("limit of a bucket", rule("algorithm: token_bucket, limit: 1/s"), 3, R + ".limit",
     "takes rate and burst, not limit"),
    ("rate of a window", rule("algorithm: sliding_window, rate: 1/s"), 3, R + ".rate",
     "takes limit, not rate"),
    ("burst of a window", rule("algorithm: fixed_window, limit: 1/s, burst: 2"), 3, R + ".burst",
     "takes limit, not burst"),
    ("rate of deny", rule("algorithm: deny, rate: 1/s"), 3, R + ".rate", "takes no numbers"),
    ("burst 0", rule("algorithm: token_bucket, rate: 1/s, burst: 0"), 3, R + ".burst", "from 1 to"),
    ("burst beyond", rule("algorithm: token_bucket, rate: 1/s, burst: 4294967296"), 3, R + ".burst",
     "from 1 to 4294967295"),
    ("burst from the rate", rule("algorithm: token_bucket, rate: 5000000000/m"), 3, R + ".burst",
     "set burst"),
    ("rate beyond", rule("algorithm: token_bucket, rate: 1000000001/s"), 3, R + ".rate",
     "above 1000000000/s"),
    ("ten years", rule("algorithm: token_bucket, rate: 1/d, burst: 4000"), 3, R + ".burst",
     "10 years"),
    ("short window", rule("algorithm: sliding_window, limit: 5/9ms"), 3, R + ".limit", "too short"),
    ("large window", rule("algorithm: sliding_window, limit: 16777216/s"), 3, R + ".limit",
     "16777215"),
    ("large fixed window", rule("algorithm: fixed_window, limit: 4294967296/s"), 3, R + ".limit",
     "4294967295"),
    ("mode of a token bucket", rule("algorithm: token_bucket, rate: 1/s, mode: queue"), 3,
     R + ".mode", "only leaky_bucket"),
    ("mode", rule("algorithm: leaky_bucket, rate: 1/s, mode: wait"), 3, R + ".mode",
     "deny, queue"),
    ("shadow", rule("algorithm: deny, shadow: maybe"), 3, R + ".shadow", "false, true"),
    ("sync", rule("algorithm: deny, sync: exact"), 3, R + ".sync", "only local is"),
    ("lease", rule("algorithm: deny, lease: 5s"), 3, R + ".lease", "takes no numbers, not lease"),
    ("per", rule("algorithm: deny, per: day"), 3, R + ".per", "only calendar has a per, deny has none"),
    ("time zone", rule("algorithm: deny, time_zone: UTC"), 3, R + ".time_zone", "only calendar has a time_zone"),
    ("on_backend_loss", rule("algorithm: deny, on_backend_loss: deny"), 3,
     R + ".on_backend_loss", "only a rule that nodes share"),
    ("unknown rule field", rule("algorithm: token_bucket, rate: 1/s, brust: 3"), 3, R + ".brust",
     "did you mean 'burst'"),
    ("overrides are a value", rule(BUCKET + "overrides: x"), 3, R + ".overrides", "a list"),
    ("override of whom", rule(BUCKET + "overrides: [{rate: 1/s}]"), 3, O, "neither subject nor prefix"),
    ("override of both", rule(BUCKET + "overrides: [{subject: a, prefix: b, rate: 1/s}]"), 3, O,
     "both subject and prefix"),
    ("override without rate", rule(BUCKET + "overrides: [{subject: a}]"), 3, O + ".rate", "missing"),
    ("override by limit", rule(BUCKET + "overrides: [{subject: a, limit: 1/s}]"), 3, O + ".limit", "not limit"),
    ("override's rate", rule(BUCKET + "overrides: [{subject: a, rate: 0/s}]"), 3, O + ".rate", "count that is 0"),
    ("override of deny", rule("algorithm: deny, overrides: []"), 3, R + ".overrides", "takes no numbers"),
    ("override with an algorithm", rule(BUCKET + "overrides: [{subject: a, algorithm: deny}]"), 3, O + ".algorithm",
     "unknown field"),
    ("equal subjects", rule(BUCKET + "overrides: [\n{subject: a, rate: 1/s}, {prefix: a, rate: 1/s},\n"
                                     "{subject: a, rate: 2/s}]"), 5, R + ".overrides[2].subject",
     "stands in overrides[0] already"),
    ("long prefix", rule(BUCKET + "overrides: [{prefix: %s, rate: 1/s}]" % ("p" * 112)), 3, O + ".prefix",
     "has 112 bytes; a prefix has at most 111"),
    ("long subject", rule(BUCKET + "overrides: [{subject: %s, rate: 1/s}]" % ("s" * 256)), 3, O + ".subject",
     "at most 255"),
    ("empty prefix", rule(BUCKET + "overrides: [{prefix: '', rate: 1/s}]"), 3, O + ".prefix", "empty"),
    ("equal rules", "tenants:\n  - name: a\n    rules:\n      - {name: x, algorithm: deny}\n"
     "      - {name: y, algorithm: deny}\n      - {name: x, algorithm: unlimited}\n", 6,
     "tenants[0].rules[2].name", "already the name of rules[0]"),
    ("equal rule ids", "tenants:\n  - name: a\n    rules:\n      - {name: x, algorithm: deny}\n"
     "      - {name: y, id: 0xfd0c5087, algorithm: deny}\n", 5, "tenants[0].rules[1]", "set `id`"),
]

FULL = """
namespace: prod
reload: watch
repeats: {window: 500ms, ahead: 0, memory: 1536KiB}
listen:
  udp: ["[::]:0", 127.0.0.1:6383]
  unix: /tmp/a-b.sock
  admin: "/tmp/with \\"quotes\\" and \\\\.sock"
trusted_networks: [10.0.0.0/8, "fd00::/8", 192.0.2.7, "::ffff:198.51.100.0/120", 0.0.0.0/0]
workers: 3
backend: mmsg
table: {entries: 100000, on_full: deny, file: none, snapshot: /tmp/a.snapshot, snapshot_every: 90s}
tiers:
  free:
    rules:
      - name: api
        algorithm: token_bucket
        rate: 10/s
        burst: 20
        overrides:
          - {prefix: "bot # \\" :", rate: 700000000/s, burst: 3}
          - {subject: "user:42", rate: 100/s, burst: 200}
          - {subject: " x: ", rate: 1/s}
      - {name: login, algorithm: deny}
  unused: {rules: []}
tenants:
  - name: acme
    tier: free
    entries: 1003
    checks: {rate: 100000/s, burst: 5}
    api_keys: [{name: ci, sha256: %s, may: [check]}, {name: ops, sha256: %s, may: [manage, check]}]
    rules:
      - {name: login, algorithm: sliding_window, limit: 5/60s, shadow: true}
      - {name: default, algorithm: leaky_bucket, mode: queue, rate: 700000000/s, burst: 3}
  - {name: "{odd:'name#\\"", id: 0x10, tier: free}
  - name: other
    rules:
      - {name: w, id: 9, algorithm: fixed_window, limit: 7/90s}
      - {name: u, algorithm: unlimited}
      - {name: c, algorithm: calendar, limit: 9, per: week, time_zone: America/New_York, overrides: [{subject: s, limit: 1}]}
      - {name: m, algorithm: leaky_bucket, rate: 1/1500ms, mode: deny}
""" % (HASH, HASH[::-1])


class Config(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def file(self, content):
        path = os.path.join(self.folder.name, "mete.yaml")
        with open(path, "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        return path

    def run_mete(self, *arguments, environment=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("METE_")}
        return subprocess.run([METE, "config", *arguments], capture_output=True, timeout=20,
                              env={**clean, **(environment or {})}, check=False)

    def refuse(self, *arguments, environment=None):
        """Runs, expects exit status 2 and one line on stderr; returns the line."""
        done = self.run_mete(*arguments, environment=environment)
        self.assertEqual((done.returncode, done.stdout), (2, b""), done)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertTrue(done.stderr.endswith(b"\n"))
        return done.stderr.decode()[:-1]

    def show(self, *arguments, environment=None):
        done = self.run_mete("show", *arguments, environment=environment)
        self.assertEqual((done.returncode, done.stderr), (0, b""), done)
        return done.stdout.decode()

    def test_broken_files(self):
        self.assertEqual(len({case[0] for case in BROKEN}), len(BROKEN))
        for what, text, line, field, phrase in BROKEN:
            with self.subTest(what):
                path = self.file(text)
                message = self.refuse("check", path)
                start = "%s%s: %s" % (path, ":%d" % line if line else "", field + ": " if field else "")
                self.assertEqual(message[:len(start)], start, message)
                self.assertIn(phrase, message)

    def test_unreadable(self):
        missing = os.path.join(self.folder.name, "missing.yaml")
        self.assertEqual(self.refuse("check", missing),
                         missing + ": cannot be read: No such file or directory")
        self.assertIn("Is a directory", self.refuse("check", self.folder.name))
        for what, content in {
                "zeros": bytes(1000), "all bytes": bytes(range(256)) * 10,
                "bad UTF-8": b"namespace: \xff\xfe\n",
                "ELF": pathlib.Path(METE).read_bytes()[:100000],
                "UTF-16": "namespace: é\n".encode("utf-16"), "gzip": b"\x1f\x8b\x08" + bytes(50),
                "control": b"\x1b[31mred\x07\n"}.items():
            with self.subTest(what):
                message = self.refuse("check", self.file(content))
                self.assertTrue(message.isprintable(), message)
        large = self.file(TENANT + "# filler\n" * (5 * 1024 * 1024 // 9))
        self.assertIn("larger than 4 MiB", self.refuse("check", large))
        bomb = "tiers: {t: {rules: [%s]}}\ntenants: [%s]\n" % (
            ", ".join("{name: r%d, algorithm: deny}" % i for i in range(20000)),
            ", ".join("{name: t%d, tier: t}" % i for i in range(20000)))
        self.assertIn("1048576 are possible", self.refuse("check", self.file(bomb)))

    def test_wrong_use(self):
        for arguments in ([], ["check"], ["check", "a", "b"], ["frob"], ["show", "x"],
                          ["show", "--config"], ["show", "--set"], ["show", "--sett=a=b"]):
            with self.subTest(arguments):
                self.assertIn("mete config: ", self.refuse(*arguments))
        self.assertIn("'--set' lacks its value", self.refuse("show", "--set"))
        self.assertIn("'--port' is not known here", self.refuse("show", "--port", "1"))
        self.assertIn("no option '--foo'", self.refuse("check", "--foo"))
        done = self.run_mete("--help")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"mete config check FILE", done.stdout)

    def test_accepted(self):
        path = self.file(FULL)
        done = self.run_mete("check", path)
        self.assertEqual((done.returncode, done.stderr), (0, b""), done)
        # acme: api, login, default; odd: api, login; other: w, u, m
        self.assertEqual(done.stdout.decode(), path + ": ok, 3 tenants, 9 rules\n")
        shown = self.show("--config", path)
        self.assertIn("login, algorithm: sliding_window, limit: 5/m, shadow: true}", shown)
        self.assertIn("rate: 700000000/s, burst: 3, mode: queue} # id 0x933b5bde, "
                      "true rate 695652174/s", shown)
        marked = self.run_mete("check", self.file(b"\xef\xbb\xbf" + FULL.encode()))
        self.assertEqual(marked.returncode, 0, marked)
        self.assertNotIn("true rate", shown.replace("true rate 695652174/s", ""))
        one = self.file("tenants: [{name: a, rules: [{name: x, algorithm: deny}]}]\n")
        self.assertEqual(self.run_mete("check", one).stdout.decode(), one + ": ok, 1 tenant, 1 rule\n")

    def test_show_is_stable(self):
        for text in (None, FULL, TENANT, "listen: {admin: none}\n" + TENANT):
            with self.subTest(text):
                first = self.show(*(["--config", self.file(text)] if text else []))
                second = self.show("--config", self.file(first))
                self.assertEqual(first, second)
                done = self.run_mete("check", self.file(first))
                self.assertEqual(done.returncode, 0, done)

    def test_strength(self):
        path = self.file("table: {entries: 100}\nworkers: 1\n" + TENANT)

        def entries(*arguments, environment=None):
            return self.show(*arguments, environment=environment).split("entries: ")[1].split()[0]

        strong = {"METE_TABLE_ENTRIES": "200"}
        self.assertEqual(entries(), "1048576")
        self.assertEqual(entries("--config", path), "100")
        self.assertEqual(entries("--config", path, environment=strong), "200")
        self.assertEqual(entries("--config=" + path, "--set", "table.entries=300",
                                 environment=strong), "300")
        self.assertEqual(entries("--set=table.entries=20", "--set", "table.entries=400"), "400")
        self.assertIn("workers: 1\n", self.show("--config", path, environment=strong))

    def test_set(self):
        for set_, line in {
                "listen.udp=127.0.0.1:7000": 'udp: ["127.0.0.1:7000"]',
                "listen.udp=[::1]:7000": 'udp: ["[::1]:7000"]',
                'listen.udp=["[::1]:1", 127.0.0.1:2]': 'udp: ["[::1]:1", "127.0.0.1:2"]',
                "trusted_networks=[]": "trusted_networks: []",
                "trusted_networks=10.0.0.0/8": 'trusted_networks: ["10.0.0.0/8"]',
                "workers=auto": "workers: auto", "workers=256": "workers: 256",
                "backend=io_uring": "backend: io_uring", "table.on_full=allow": "on_full: allow",
                "namespace=x": "namespace: x", "listen.admin=none": "admin: none",
                "listen.admin=/tmp/a b": 'admin: "/tmp/a b"', "table.file=none": "tenants:",
        }.items():
            with self.subTest(set_):
                self.assertIn(line, self.show("--set", set_))
        for set_, message in {
                "table.entries=x": "--set table.entries: 'x' is not a whole number",
                "table.entries=": "--set table.entries: is empty",
                "tabel.entries=5": "--set tabel.entries: unknown field; did you mean "
                                   "'table.entries'",
                "frob=5": "--set frob: unknown field",
                "table=5": "--set table: is a section",
                "tenants=[]": "--set tenants: tenants and tiers are set in a file only",
                "workers": "--set: 'workers' is not path=value",
                "=1": "--set: '=1' is not path=value",
                "listen.udp=[127.0.0.1:1, x]": "--set listen.udp[1]: 'x' is not ADDRESS:PORT",
                "listen.udp=[1": "--set listen.udp: '[1' is not ADDRESS:PORT",
                "listen.udp=[[]": "--set listen.udp: not YAML",
                "key_file=/no/x": "--set key_file: /no/x cannot be read: No such file or directory",
                "listen.udp={a: b}": "--set listen.udp: '{a: b}' is not ADDRESS:PORT",
                "workers=1\n2": "--set workers: has a control character",
        }.items():
            with self.subTest(set_):
                self.assertEqual(self.refuse("show", "--set", set_)[:len(message)], message)

    def test_environment(self):
        shown = self.show(environment={
            "METE_LISTEN_UDP": "[127.0.0.1:1, 127.0.0.1:2]", "METE_TABLE_ON_FULL": "deny",
            "METE_NAMESPACE": "e", "METE_TRUSTED_NETWORKS": "fd00::/8", "METE_WORKERS": "2",
            "METE_BACKEND": "mmsg", "METE_LISTEN_ADMIN": "none",
            # Not of the configuration: passed over.
            "METE_SECRET": "s", "METE_BUILD": "b", "METE_SEED": "1", "METE_COUNT": "2",
            "METE_FROB": "x", "METE_TENANTS": "x", "METE_TABLE": "x", "METE_": "x"})
        for line in ('udp: ["127.0.0.1:1", "127.0.0.1:2"]', "on_full: deny", "namespace: e",
                     'trusted_networks: ["fd00::/8"]', "workers: 2", "backend: mmsg",
                     "admin: none"):
            self.assertIn(line, shown)
        for name, value, message in (
                ("METE_TABLE_ENTRIES", "x", "METE_TABLE_ENTRIES: 'x' is not a whole number"),
                ("METE_WORKERS", "", "METE_WORKERS: is empty"),
                ("METE_LISTEN_UDP", "[127.0.0.1:1, y]", "METE_LISTEN_UDP[1]: 'y' is not"),
                ("METE_LISTEN_GRPC", "localhost", "METE_LISTEN_GRPC: 'localhost' is not ADDRESS:PORT")):
            with self.subTest(name):
                line = self.refuse("show", environment={name: value})
                self.assertEqual(line[:len(message)], message)

    def test_regions_after_overrides(self):
        path = self.file("tenants:\n  - {name: a, entries: 100}\n")
        line = self.refuse("show", "--config", path, "--set", "table.entries=100")
        self.assertTrue(line.startswith(path + ":2: tenants[0].entries: "), line)
        self.assertIn("entries: 100\n", self.show("--config", path, "--set", "table.entries=116"))


if __name__ == "__main__":
    unittest.main()
