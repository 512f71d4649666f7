"""Runs a program in a sandbox that refuses system calls, as the seccomp filters of containers do.

    deny.py recvmmsg,sendmmsg PROGRAM ARGUMENT...
"""

import ctypes
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"recvmmsg": 299, "sendmmsg": 307},
    "aarch64": {"recvmmsg": 243, "sendmmsg": 269},
}
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
ALLOW, ERRNO, EPERM = 0x7FFF0000, 0x00050000, 1
# Instructions of the filter: load the number of the call, compare, return.
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def main():
    denied = [NUMBERS[platform.machine()][name] for name in sys.argv[1].split(",")]
    code = [(LOAD, 0, 0, 0)]
    for number in denied:
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | EPERM)]
    code.append((RETURN, 0, 0, ALLOW))
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code), packed)
    for arguments in [(NO_NEW_PRIVS, 1, 0, 0, 0), (SET_SECCOMP, FILTER, ctypes.byref(program))]:
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
