"""An XDP program that passes everything on, on an interface of this thread's network namespace for as long as the returned
descriptors are open: a veth takes frames that a program sends (XDP_TX) only to an end that has a program too."""
import ctypes
import os
import platform
import socket
import struct

BPF_CALL = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, LINK_CREATE = 5, 28
PROG_TYPE_XDP, ATTACH_XDP, DRIVER_MODE = 6, 37, 4
PASS = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit


def bpf(command, attributes):
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(BPF_CALL[platform.machine()], command, room, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def attach(interface):
    code, licence = ctypes.create_string_buffer(PASS, len(PASS)), ctypes.create_string_buffer(b"GPL")
    program = bpf(PROG_LOAD, struct.pack("<IIQQ", PROG_TYPE_XDP, len(PASS) // 8, ctypes.addressof(code), ctypes.addressof(licence)))
    return program, bpf(LINK_CREATE, struct.pack("<IIII", program, socket.if_nametoindex(interface), ATTACH_XDP, DRIVER_MODE))
