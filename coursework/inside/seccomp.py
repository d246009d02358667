"""Calls of the system that a question's process may not make: they give memory that belongs to no process.

Memory in files without a name, in segments and queues that outlive a process, in sockets, and in file systems that
a process mounts in namespaces of its own is counted nowhere, so no limit meets it. Linux asks a small program about
every call; it is installed here and stays with the process and all that it starts.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2  # of Linux's prctl
LOAD, IF_EQUAL, IF_AT_LEAST, IF_ANY, GIVE = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # what the program gives; an error number is added to the second
CALL, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # where the program finds these
OTHER_NUMBERS = 0x40000000  # calls of the x32 interface have numbers from here on
NAMESPACES = 0x7E020000  # the flags of clone that ask for one: of users, processes, mounts and so on

NUMBERS = {
    "x86_64": (0xC000003E, {
        "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "msgget": 68, "semget": 64, "socket": 41,
        "mount": 165, "fsopen": 430, "unshare": 272, "setns": 308, "io_uring_setup": 425, "clone3": 435, "clone": 56,
    }),
    "aarch64": (0xC00000B7, {
        "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "msgget": 186, "semget": 190, "socket": 198,
        "mount": 40, "fsopen": 430, "unshare": 97, "setns": 268, "io_uring_setup": 425, "clone3": 435, "clone": 220,
    }),
}  # fmt: skip
"""By machine: its mark, and the numbers of the calls."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def deny() -> None:
    """Refuse these calls to this process from now on.

    Raises:
        OSError: It cannot be done on this machine.
    """
    if platform.machine() not in NUMBERS:
        raise OSError(f"no list of system calls for {platform.machine()}; there is one for {', '.join(NUMBERS)}")
    code = program(*NUMBERS[platform.machine()])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(_Program(len(code) // 8, code)), 0, 0):
        raise OSError(ctypes.get_errno(), "calls of the system cannot be filtered")


def program(machine: int, numbers: dict[str, int]) -> bytes:
    """The program: what is none of these calls is allowed."""
    refused = (GIVE, 0, 0, REFUSE | errno.EPERM)
    code = [(LOAD, 0, 0, MACHINE), (IF_EQUAL, 1, 0, machine), refused]
    code += [(LOAD, 0, 0, CALL), (IF_AT_LEAST, 0, 1, OTHER_NUMBERS), refused]
    for name, number in numbers.items():
        if name == "clone":  # as a thread or a plain process
            code += [(IF_EQUAL, 0, 3, number), (LOAD, 0, 0, FIRST_ARGUMENT), (IF_ANY, 0, 1, NAMESPACES), refused]
        else:  # without clone3, whose flags cannot be seen from here, the C library takes clone
            code += [(IF_EQUAL, 0, 1, number), (GIVE, 0, 0, REFUSE | errno.ENOSYS) if name == "clone3" else refused]
    return b"".join(struct.pack("=HBBI", *each) for each in [*code, (GIVE, 0, 0, ALLOW)])
