"""Puts a test's daemons behind the af_xdp backend: imported before the test's own modules, it moves this process into a client's
network namespace and starts every Daemon in a server's, on the other end of a veth pair. What a test says about loopback then
means the pair: 127.0.0.1 is the server's address, 127.0.0.2 another of it, and the client's network is trusted as loopback is.

    from lib import xdp_daemon
    xdp_daemon.move(queues=2)      # unittest.SkipTest with the reason where it cannot be
"""
import atexit
import ctypes
import os
import re
import unittest

from lib import daemon, xdp_pass
from lib.xdp_world import NETWORKS, SERVER4, SERVER6, Unavailable, World, run

CLONE_NEWNET = 0x40000000
SECOND4 = "10.99.77.3"
HOSTS = {"127.0.0.1": SERVER4, "127.0.0.2": SECOND4, "[::1]": f"[{SERVER6}]"}
world = None
carry = []


def enter(space):
    """This thread, and those that it starts, live in that namespace from here on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{space}") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise Unavailable(f"setns: {os.strerror(ctypes.get_errno())}")


def need_backend():
    if re.search(r"^backend af_xdp: not in this build", daemon.mete("version").stdout, re.M):
        raise Unavailable("af_xdp is not in this build")


class XdpDaemon(daemon.Daemon):
    def __init__(self, config=None, sets=(), *, listen="127.0.0.1:0", command=(), backend="auto", **options):
        for host, address in HOSTS.items():
            listen = listen.replace(host, address)
        asked = [one.split("=", 1)[1] for one in sets if one.startswith("trusted_networks=")]
        sets = [one for one in sets if not one.startswith("trusted_networks=")]
        trusted = ",".join([*NETWORKS, *(one.strip("[]") for one in asked)])
        super().__init__(config, [*sets, f"trusted_networks=[{quoted(trusted)}]",
                                  f"listen.interface={world.server_interface}", *carry], listen=listen, backend="af_xdp",
                         command=[*world.server, *command], **options)
        assert self.interface == world.server_interface, self.said


def quoted(networks):
    return ",".join(f'"{one.strip().strip(chr(34))}"' for one in networks.split(",") if one.strip())


def move(queues=1, carries="METE_XDP_CARRY" in os.environ):
    """All that this process does from here on. With `carries` answers leave in the frames of questions."""
    global world, carry
    try:
        one = World(queues)
        need_backend()
        world = one.__enter__()
        atexit.register(one.remove)
        run("ip", "-n", one.spaces["s"], "addr", "add", f"{SECOND4}/24", "dev", one.server_interface)
        enter(one.spaces["c"])
        if carries:
            xdp_pass.attach(one.client_interface)
            carry = ["af_xdp.carry=on"]
            daemon.Client.may_overtake = True
    except (Unavailable, OSError) as why:
        raise unittest.SkipTest(f"no network namespaces: {why}") from None
    daemon.Daemon = XdpDaemon
    daemon.BACKENDS = ("af_xdp",)
