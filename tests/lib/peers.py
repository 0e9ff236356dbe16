"""Programs of others that the tests are held against, installed by their own package managers into build/peers, once; who is
offline skips what is missing, and is told which. Pinned, so that a test means the same tomorrow."""
import fcntl
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "build" / "peers"  # whatever the build that is tested: installed once for all
SOURCES = ROOT / "tests" / "e2e" / "peers"
INSTALL_S = 300

IOREDIS = "ioredis@6.0.0"
GO_REDIS = "github.com/redis/go-redis/v9@v9.23.0"
REDIS_PY = "redis==8.1.0"
ROTEL = "rotel==0.0.1a15"  # a collector of OpenTelemetry that comes as a wheel
REDIS_CELL = "=0.2.2"  # the one that crates.io has


def _run(command, folder, **environment):
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=INSTALL_S,
                              env={**os.environ, **environment})
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]


def _installed(name, tool, install):
    """The folder of one peer. `install(folder)` returns "" or why it cannot be had; two tests at once install it once."""
    if not shutil.which(tool):
        raise unittest.SkipTest(f"{name}: {tool} is not installed")
    folder, done = PEERS / name, PEERS / name / "done"
    folder.mkdir(parents=True, exist_ok=True)
    with open(PEERS / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            why = install(folder)
            if why:
                raise unittest.SkipTest(f"{name} cannot be had: {why}")
            done.touch()
    return folder


def _install_ioredis(folder):
    return _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), IOREDIS], folder)


def _install_go_redis(folder):
    shutil.copy(SOURCES / "go_redis.go", folder / "main.go")
    environment = {"GOFLAGS": "-mod=mod -modcacherw -buildvcs=false", "GOMODCACHE": str(folder / "mod"), "GOTOOLCHAIN": "local"}
    if not (folder / "go.mod").exists():
        why = _run(["go", "mod", "init", "peer"], folder, **environment)
        if why:
            return why
    return _run(["go", "get", GO_REDIS], folder, **environment) or \
        _run(["go", "build", "-o", "peer", "."], folder, **environment)


def _install_redis_py(folder):
    return _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target",
                 str(folder), REDIS_PY], folder)


def _install_rotel(folder):
    return _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target",
                 str(folder), ROTEL], folder)


def _install_redis_cell(folder):
    """Cargo builds libraries of others only as parts of a program, so its source is taken apart first."""
    (folder / "fetch" / "src").mkdir(parents=True, exist_ok=True)
    (folder / "fetch" / "src" / "lib.rs").touch()
    (folder / "fetch" / "Cargo.toml").write_text(
        f'[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nredis-cell = "{REDIS_CELL}"\n')
    why = _run(["cargo", "vendor", "--quiet", str(folder / "vendor")], folder / "fetch")
    if why:
        return why
    (folder / ".cargo").mkdir(exist_ok=True)
    (folder / ".cargo" / "config.toml").write_text(
        f'[source.crates-io]\nreplace-with = "here"\n[source.here]\ndirectory = "{folder / "vendor"}"\n')
    shutil.copytree(folder / "vendor" / "redis-cell", folder / "source", dirs_exist_ok=True)
    return _run(["cargo", "build", "--release", "--quiet", "--offline"], folder / "source",
                CARGO_TARGET_DIR=str(folder / "target"))


@functools.cache
def ioredis():
    """The folder to set NODE_PATH to."""
    return _installed("ioredis", "npm", _install_ioredis) / "node_modules"


@functools.cache
def go_redis():
    """The program that tests/e2e/peers/go_redis.go is."""
    return _installed("go-redis", "go", _install_go_redis) / "peer"


@functools.cache
def redis_py():
    """The folder to import redis from."""
    return _installed("redis-py", "pip3", _install_redis_py)


@functools.cache
def redis_cell():
    """The module, to be loaded into a redis-server."""
    if not shutil.which("redis-server"):
        raise unittest.SkipTest("redis-cell: redis-server is not installed")
    return _installed("redis-cell", "cargo", _install_redis_cell) / "target" / "release" / "libredis_cell.so"


@functools.cache
def rotel():
    """The program."""
    return _installed("rotel", "pip3", _install_rotel) / "rotel" / "rotel-agent"
