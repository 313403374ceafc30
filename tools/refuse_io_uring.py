#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs a program that is refused io_uring, as containers refuse it: io_uring_setup(2) fails with EPERM.

usage: refuse_io_uring.py COMMAND [ARGUMENT…]
"""
import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
IO_URING_SETUP = 425  # on every architecture
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO_EPERM = 0x7fff0000, 0x00050001

INSTRUCTIONS = [
    (LOAD, 0, 0, 0),  # the number of the system call
    (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
    (RETURN, 0, 0, ERRNO_EPERM),
    (RETURN, 0, 0, ALLOW),
]


def refuse():
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in INSTRUCTIONS)
    filters = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(INSTRUCTIONS), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                      (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"refuse_io_uring: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip().split("\n")[-1])
    refuse()
    os.execvp(sys.argv[1], sys.argv[1:])
