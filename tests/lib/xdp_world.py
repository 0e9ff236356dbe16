"""Two network namespaces with a veth pair between them, as bench/compare_xdp.py and the tests of the af_xdp backend use them.
Everything is named by the process id, goes when the `with` block ends, however that ends, and what a killed process left behind
is removed by the next one. Python's standard library only; needs root and iproute2."""
import fcntl
import os
import pathlib
import re
import socket
import struct
import subprocess
import time

PREFIX = "mete-xdp"
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C
SERVER4, CLIENT4, SERVER6, CLIENT6 = "10.99.77.1", "10.99.77.2", "fd99:77::1", "fd99:77::2"
NETWORKS = ["10.99.77.0/24", "fd99:77::/64"]


class Unavailable(Exception):
    """No rights, or no such kernel: with the reason."""


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def remove_stale():
    """Namespaces of processes that are gone."""
    for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines():
        match = re.match(rf"{PREFIX}-(\d+)-\d+-[sc]\b", line)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            subprocess.run(["ip", "netns", "delete", match[0]], capture_output=True)


class World:
    """A server's and a client's namespace; `server` and `client` are what to put in front of a command there."""
    made = 0

    def __init__(self, queues=1):
        World.made += 1
        self.queues = queues
        self.name = f"{PREFIX}-{os.getpid()}-{World.made}"
        self.spaces = {"s": self.name + "-s", "c": self.name + "-c"}
        short = f"{os.getpid() % 1000000}{World.made % 10}"
        self.server_interface, self.client_interface = "s" + short, "c" + short
        self.server, self.client = (["ip", "netns", "exec", self.spaces[end]] for end in "sc")
        self.server_address, self.client_address = SERVER4, CLIENT4

    def __enter__(self):
        if os.geteuid() != 0:
            raise Unavailable("network namespaces need root")
        remove_stale()
        try:
            self._make()
        except FileNotFoundError as missing:
            raise Unavailable(f"no {missing.filename} here") from None
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def _make(self):
        for space in self.spaces.values():
            run("ip", "netns", "add", space)
        ends = (self.server_interface, self.spaces["s"]), (self.client_interface, self.spaces["c"])
        many = ["numrxqueues", self.queues, "numtxqueues", self.queues]
        run("ip", "-n", ends[0][1], "link", "add", ends[0][0], *many, "type", "veth", "peer", "name", ends[1][0], *many, "netns",
            ends[1][1])
        for (name, space), v4, v6 in zip(ends, (SERVER4, CLIENT4), (SERVER6, CLIENT6)):
            run("ip", "-n", space, "addr", "add", v4 + "/24", "dev", name)
            run("ip", "-n", space, "addr", "add", v6 + "/64", "dev", name, "nodad")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", name, "up")
        self.server_mac = self.read("s", "address")
        self.client_mac = self.read("c", "address")

    def remove(self):
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)

    def interface(self, end):
        return self.server_interface if end == "s" else self.client_interface

    def read(self, end, name):
        return run("ip", "netns", "exec", self.spaces[end], "cat", f"/sys/class/net/{self.interface(end)}/{name}").strip()

    def has_program(self, end="s"):
        return "prog/xdp" in run("ip", "-n", self.spaces[end], "link", "show", self.interface(end))

    def thread_napi(self, end, core):
        """Frames that come in at this end are received by a kernel thread of its own, on that core, which does not take the core
        away from who works there (SCHED_BATCH). Returns its number."""
        self._enable_gro(end)
        run("ip", "netns", "exec", self.spaces[end], "sh", "-c", f"echo 1 >/sys/class/net/{self.interface(end)}/threaded")
        for _ in range(100):
            found = [int(at.name) for at in pathlib.Path("/proc").glob("[0-9]*") if self._is_napi(at, end)]
            if len(found) >= self.queues:
                for number in found:
                    os.sched_setaffinity(number, {core})
                    os.sched_setscheduler(number, os.SCHED_BATCH, os.sched_param(0))
                return found
            time.sleep(0.02)
        raise Unavailable("this kernel has no threads for NAPI")

    def defer_napi(self, end, ns):
        """Who polls this end by itself is not disturbed; who stops is stood in for after so long."""
        at = f"/sys/class/net/{self.interface(end)}"
        run("ip", "netns", "exec", self.spaces[end], "sh", "-c", f"echo 2 >{at}/napi_defer_hard_irqs; echo {ns} >{at}/gro_flush_timeout")

    def _is_napi(self, at, end):
        try:
            return (at / "comm").read_text().startswith(f"napi/{self.interface(end)}-")
        except OSError:
            return False

    def _enable_gro(self, end):
        """A veth has NAPI only with GRO or a program."""
        code = ("import fcntl,socket,struct,array;"
                f"value=array.array('B',struct.pack('II',{ETHTOOL_SGRO},1));"
                f"fcntl.ioctl(socket.socket(),{SIOCETHTOOL},struct.pack('16sP',b'{self.interface(end)}',value.buffer_info()[0]))")
        run("ip", "netns", "exec", self.spaces[end], "python3", "-c", code)
