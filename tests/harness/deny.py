"""Runs a program in a sandbox that refuses system calls, as the seccomp filters of containers do.

    deny.py recvmmsg,sendmmsg PROGRAM ARGUMENT...
    deny.py udp PROGRAM ARGUMENT...

"udp" stands for sockets of UDP, over IPv4 and IPv6.
"""

import ctypes
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"recvmmsg": 299, "sendmmsg": 307, "socket": 41},
    "aarch64": {"recvmmsg": 243, "sendmmsg": 269, "socket": 198},
}
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
ALLOW, ERRNO, EPERM = 0x7FFF0000, 0x00050000, 1
# Instructions of the filter: load the number of the call or an argument, mask, compare, return.
LOAD, AND, EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
# Where the number of the call is, and the lower half of its first arguments.
CALL, DOMAIN, TYPE = 0, 16, 24
AF_INET, AF_INET6, SOCK_DGRAM, TYPE_MASK = 2, 10, 2, 0xF


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def main():
    numbers = NUMBERS[platform.machine()]
    deny, allow = (RETURN, 0, 0, ERRNO | EPERM), (RETURN, 0, 0, ALLOW)
    code = [(LOAD, 0, 0, CALL)]
    for name in sys.argv[1].split(","):
        if name == "udp":
            code += [
                (EQUAL, 0, 7, numbers["socket"]),
                (LOAD, 0, 0, TYPE),
                (AND, 0, 0, TYPE_MASK),
                (EQUAL, 0, 4, SOCK_DGRAM),
                (LOAD, 0, 0, DOMAIN),
                (EQUAL, 1, 0, AF_INET),
                (EQUAL, 0, 1, AF_INET6),
                deny,
                (LOAD, 0, 0, CALL),
            ]
        else:
            code += [(EQUAL, 0, 1, numbers[name]), deny]
    code.append(allow)
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code), packed)
    for arguments in [(NO_NEW_PRIVS, 1, 0, 0, 0), (SET_SECCOMP, FILTER, ctypes.byref(program))]:
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
