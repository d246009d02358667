"""The process inside the sandbox: for each question a child of its own loads the student's code and answers calls.

Importing torch takes seconds, so it is done once here and each child starts from there. Over its
standard input, a socket, this process is handed one socket more for each question; a child knows no other, so
what it leaves running can neither read the next question nor answer it. A child also gets namespaces of its own,
where the machine allows that: then it cannot even name this process, and so not stop it or spoil it for the next one.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch

from badnets_lib.handing_in import closed, load, wire

from . import seccomp

TEXT = 300
"""Characters of an error that are told."""

PR_SET_DUMPABLE = 4  # of Linux's prctl
OWN = 0x08000000 | 0x10000000 | 0x20000000  # of its unshare: what outlives a process in memory, users, processes
LIBC = ctypes.CDLL(None)


def main() -> None:
    """Import what the command line names, close what it names behind `--`, then serve until the grader hangs up."""
    places = " ".join(sys.argv[1:]).partition("--")
    for module in places[0].split():
        importlib.import_module(module)
    with closed(places[2].split()):
        serve_all()


def serve_all() -> None:
    """Serve one question after the other, each in a process of its own."""
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # or every child would look through all of torch for garbage, and so copy it
    LIBC.prctl(PR_SET_DUMPABLE, 0)  # no child may read or change this process
    control = socket.socket(fileno=os.dup(0))
    _silence()
    apart = is_apart()
    control.sendall(b"apart!" if apart else b"ready!")
    child = 0
    while True:
        _, handed, _, _ = socket.recv_fds(control, 1, 1)
        if child:
            end(child)
        if not handed:
            return
        link = socket.socket(fileno=handed[0])
        child = os.fork()
        if child == 0:
            control.close()
            try:
                if apart:
                    enter_own()
                serve(link)
            finally:
                os._exit(0)
        os.setpgid(child, child)
        link.close()
        control.sendall(b"!")


def is_apart() -> bool:
    """Whether a child can have namespaces of its own."""
    child = os.fork()
    if child == 0:
        os._exit(LIBC.unshare(OWN) != 0)
    return os.waitpid(child, 0)[1] == 0


def enter_own() -> None:
    """Go on in a process that is the first of its own namespaces; this one waits for it and ends."""
    LIBC.unshare(OWN)
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        os._exit(0)


def end(child: int) -> None:
    """Kill a question's process and those that it started; in the sandbox all but ourselves, and what they wrote."""
    scratch = os.environ.get("SCRATCH")
    gone = kill(-1 if scratch else -child)
    os.waitpid(child, 0)
    while scratch and not gone:
        gone = kill(-1)
        time.sleep(0.001)
    for left in os.scandir(scratch) if scratch else ():
        shutil.rmtree(left) if left.is_dir(follow_symlinks=False) else os.unlink(left)


def kill(which: int) -> bool:
    """Kill processes as `os.kill` counts them; whether there was none."""
    try:
        os.kill(which, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


def serve(link: socket.socket) -> None:
    """Load what one question needs, then answer its calls until the grader hangs up."""
    question = receive(link)
    limit(**question["limits"])
    namespace, problems = load(question["given"], question["sources"], question["names"])
    send(link, [problem[:TEXT] for problem in problems])
    while (call := receive(link)) is not None:
        send(link, answer(namespace, *call))


def answer(namespace: dict[str, Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """["value", what was returned, arguments that were changed], ["missing"], or ["raised", type, text, line].

    An argument is called by its position or its name, and comes back as `wire.inside` shows it.
    """
    function: Callable[..., Any] | None = namespace.get(name)
    if not callable(function):
        return ["missing"]
    arguments = dict(enumerate(args)) | kwargs
    before = deepcopy(wire.inside(arguments))
    try:
        value = function(*args, **kwargs)
        after = wire.inside(arguments)
        reply = ["value", value, {key: after[key] for key in before if wire.changed(before[key], after[key])}]
        wire.pack(reply)
        return reply
    except BaseException as error:
        return ["raised", type(error).__name__, _text(error), _line(error)]


def _text(error: BaseException) -> str:
    try:
        return str(error)[:TEXT]
    except BaseException:  # a student's class may refuse to be shown
        return ""


def _line(error: BaseException) -> int:
    """The line of the student's cell where it happened, 0 if it was nowhere there."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == "<submission>"), 0)


def limit(*, memory: int, processes: int, disk: int, seconds: int) -> None:
    """Bounds that this process and its children cannot lift again: bytes, count, bytes, seconds of processor.

    Memory that no process holds, and so no bound on processes meets, cannot be had at all.
    """
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, held + memory),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, disk),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 128),
    ):
        resource.setrlimit(what, (most, most))
    seccomp.deny()


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def send(link: socket.socket, value: Any) -> None:
    """One message: its length, then `wire.pack`'s bytes."""
    message = wire.pack(value)
    link.sendall(struct.pack(">I", len(message)) + message)


def receive(link: socket.socket) -> Any:
    """The next message's value, or None when the grader has hung up."""
    size = _exactly(link, 4)
    return wire.unpack(_exactly(link, struct.unpack(">I", size)[0]), trusted=True) if size else None


def _exactly(link: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = link.recv(min(count - len(data), 2**20))
        if not piece:
            return b""
        data += piece
    return bytes(data)


if __name__ == "__main__":
    main()
