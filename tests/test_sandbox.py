"""The sandbox, tried with what students' code could do: each evil costs its own question and nothing else."""

import os
import platform
import socket
import time
from collections import Counter, OrderedDict, namedtuple
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import psutil
import pytest
import torch

import badnets_lib as bd
from badnets_lib import handing_in
from badnets_lib.handing_in import wire
from coursework import sandbox
from coursework.inside import seccomp
from coursework.sandbox import Limits, Lost, NoSandbox, Raised, Sandbox

SECONDS = 3
LIMITS = Limits(seconds=SECONDS, memory=2**29, disk=2**22)
GOOD = "STEP = 1\n\ndef good(x):\n    return x + STEP\n"


# ---- what crosses ----


def crossed(value, *, trusted=True):
    return wire.unpack(wire.pack(value), trusted=trusted)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -2.5, "text", [1, [2, "a"]], (1, 2), {"a": 1, 2: (3,)}, [], {}, (), set(), {1, "a", (2, 3)},
        bd.Proportion(3, 7),
    ],
)  # fmt: skip
def test_plain_values_cross_as_they_are(value):
    assert crossed(value, trusted=False) == value and type(crossed(value)) is type(value)


@pytest.mark.parametrize("dtype", wire.DTYPES.values(), ids=str)
def test_tensors_cross_bit_for_bit(dtype):
    tensor = (torch.arange(24) % 2).to(dtype).reshape(2, 3, 4).transpose(0, 2)
    again = crossed(tensor, trusted=False)
    assert again.dtype == dtype and torch.equal(again, tensor)
    assert torch.equal(crossed([tensor, torch.empty(0, 3), tensor])[2], tensor)


def test_arrays_cross_as_tensors_and_their_numbers_as_numbers():
    assert torch.equal(crossed(torch.eye(2).numpy()), torch.eye(2))
    assert crossed(torch.ones(3).numpy().sum()) == 3.0


Pair = namedtuple("Pair", "low high")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Pair(1, Pair(2, 3)), (1, (2, 3))), (OrderedDict(a=1), {"a": 1}), (Counter("aab"), {"a": 2, "b": 1}),
        (type("Rows", (list,), {})([1]), [1]), (frozenset({1}), {1}), (Fraction(1, 4), 0.25), (Decimal("0.25"), 0.25),
        (Fraction(4, 2), 2.0), (np.float32(0.5), 0.5), (np.int64(3), 3), (type("Text", (str,), {})("a"), "a"),
        (type("Whole", (int,), {})(3), 3), (torch.Size([2, 3]), (2, 3)),
    ],
)  # fmt: skip
def test_what_is_made_from_plain_values_crosses_as_these(value, plain):
    again = crossed([value], trusted=False)[0]
    assert again == plain and type(again) is type(plain)


def test_networks_cross_with_their_weights():
    network = bd.SmallCNN(width=2)
    again = crossed(network, trusted=False)
    assert bd.weights_hash(again) == bd.weights_hash(network) and not again.training


def test_what_a_question_is_made_of_crosses_inwards_only(tiny):
    plan = bd.Attack(bd.Patch(size=2), bd.Goal.all_to_one(1, n_classes=3)).plan(tiny, fraction=0.2, seed=0)
    for value in (plan, plan.attack.goal, plan.attack.trigger):
        assert crossed(value) == value
        with pytest.raises(wire.Malformed, match="may not cross here"):
            crossed(value, trusted=False)
    assert crossed(tiny).fingerprint == tiny.fingerprint


@pytest.mark.parametrize(
    "value", [object(), iter([1]), len, 2 + 3j, torch.ones(2, dtype=torch.complex64), b"bytes", type]
)
def test_nothing_else_crosses(value):
    with pytest.raises(wire.Malformed, match="does not cross"):
        wire.pack(value)


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_too_deep_or_too_large_is_refused():
    crossed(deep(wire.DEPTH - 1))
    for levels in (wire.DEPTH, 100_000):
        with pytest.raises(wire.Malformed, match="more than 12 deep"):
            wire.pack(deep(levels))
    with pytest.raises(wire.Malformed, match="more than the 4,194,304 that cross"):
        wire.pack("x" * wire.PLAIN_LIMIT)
    with pytest.raises(wire.Malformed, match="more than the 33,554,432 that cross"):
        wire.pack(torch.empty(wire.LIMIT, dtype=torch.uint8))
    with pytest.raises(wire.Malformed, match="bytes of JSON are more than"):
        wire.unpack(message("[" + "[]," * 2**21 + "1]"), trusted=False)


def message(text, rest=b""):
    return len(text).to_bytes(4, "big") + text.encode() + rest


WIDE = '{"network": {"list": [{"dict": [{"list": ["name", "SmallCNN"]}, {"list": ["width", 100000]}]}, 0]}}'


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0\0", message("[" * 200_000), message('{"tensor": ["float32", [1000000000]]}'), message("nonsense"),
        message('{"tensor": ["float32", [-1]]}'), message('{"tensor": ["object", [1]]}', b"1234"), message("[1, 2]"),
        message('{"tensor": ["float32", [1.0]]}', b"1234"), message('{"tensor": ["float32", [1]]}', b"12345"),
        message('{"tensor": ["uint8", [' + "1, " * 99 + "1]]}", b"1"), message("1", b"extra"), b"\xff" * 100,
        message(WIDE),
        message('{"network": {"list": [1, 2]}}'), message('{"proportion": {"list": [5, 3]}}'),
        message('{"dict": [{"list": [{"list": []}, 1]}]}'), message("9" * 10_000), message('{"list": 5}'),
        message("{}"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_message_are_refused(data):
    with pytest.raises(wire.Malformed):
        wire.unpack(data, trusted=False)


# ---- what is loaded ----


def loaded(*sources, wanted):
    namespace, problems = handing_in.load([], sources, wanted)
    return namespace, problems


def test_only_what_the_wanted_names_need_is_loaded():
    source = (
        "import math\nA = 2\nB = A * 3\nC = open('x')\nraise SystemExit\n\n"
        "def f():\n    return B + math.floor(1.5)\n\ndef g():\n    return D"
    )
    namespace, problems = loaded(source, wanted=["f"])
    assert namespace["f"]() == 7 and not problems
    assert "g" not in namespace and "C" not in namespace


def test_a_later_definition_replaces_an_earlier_one_and_magics_are_left_out():
    namespace, problems = loaded(
        "%matplotlib inline\n!ls\ndef f():\n    return 1", "def f():\n    return 2", wanted=["f"]
    )
    assert namespace["f"]() == 2 and not problems


def test_a_cell_that_cannot_be_read_costs_what_it_defines():
    namespace, problems = loaded("def f(:\n", "def g():\n    return 3", "x = " + "(" * 5000, wanted=["f", "g"])
    assert "f" not in namespace and namespace["g"]() == 3
    assert len(problems) == 2 and "a cell could not be read" in problems[0]


def test_a_definition_that_fails_is_told_and_the_rest_goes_on():
    namespace, problems = loaded("import no_such_module\n\ndef f():\n    return no_such_module", wanted=["f"])
    assert "f" in namespace and "ModuleNotFoundError" in problems[0]


# ---- what students' code could do ----


@pytest.fixture(scope="module")
def box(bubblewrap):
    with Sandbox(LIMITS) as box:
        yield box


def ask(box, source, *args, name="f"):
    with box.question([], [GOOD, source], ["good", name]) as functions:
        return functions[name](*args)


def still_good(box):
    return ask(box, "", 4, name="good") == 5


def test_a_function_answers_with_tensors_networks_and_numbers(box):
    assert ask(box, "def f(x, *, by=2):\n    return {'double': x * by, 'n': len(x)}", torch.arange(3))["n"] == 3
    narrow = ask(box, "def f(net):\n    net.conv1.weight.data.zero_()\n    return net", bd.SmallCNN(width=2))
    assert not narrow.conv1.weight.any()


def test_what_it_raises_comes_back_as_that_with_the_line(box):
    with pytest.raises(ValueError, match=r"f: ValueError: a limit of 3 \(line 3 of its cell\)") as caught:
        ask(box, "def f():\n    x = 3\n    raise ValueError(f'a limit of {x}')")
    assert isinstance(caught.value, Raised)


@pytest.mark.parametrize(
    "raising",
    [
        "assert False, 'theirs'", "raise SystemExit(0)", "raise KeyboardInterrupt",
        "raise type('Odd', (Exception,), {})",
        "raise type('Bad', (Exception,), {'__str__': lambda self: 1 / 0})()", "b'\\xff'.decode()",
    ],
)  # fmt: skip
def test_no_exception_of_theirs_is_one_of_ours(box, raising):
    with pytest.raises(Raised) as caught:
        ask(box, f"def f():\n    {raising}")
    assert not isinstance(caught.value, AssertionError) and still_good(box)


def test_a_missing_function_is_told_with_what_could_not_be_read(box):
    with pytest.raises(NameError, match=r"there is no function f; a cell could not be read by Python .*: .*line 1"):
        ask(box, "def f(:")


REACH = {
    "the network": "import socket\n\ndef f():\n    socket.create_connection(('127.0.0.1', {port}), timeout=1)",
    "another process": "import os\n\ndef f():\n    os.kill({pid}, 0)",
    "the project": "import os\n\ndef f():\n    open({here!r}).read()",
    "a submission": "def f():\n    open({other!r}).read()",
    "the system": "def f():\n    open('/usr/x', 'w')",
    "the folder above": "def f():\n    open('/x', 'w')",
    "shared memory": "def f():\n    open('/dev/shm/x', 'w')",
    "the library": "import badnets_lib\n\ndef f():\n    open(badnets_lib.__file__, 'a')",
    "a password": "def f():\n    return open('/etc/passwd').read()",
    "the grader's variables": "import os\n\ndef f():\n    return os.environ['SECRET_OF_THE_GRADER']",
    "the worker's process": "import os\n\ndef f():\n    open(f'/proc/{{os.getppid()}}/mem', 'r+b').write(b'x')",
}


@pytest.mark.parametrize("what", REACH)
def test_it_reaches_nothing(box, what, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "42")
    other = tmp_path / "ann.ipynb"
    other.write_text("answers")
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {"port": server.getsockname()[1], "pid": os.getpid(), "here": __file__, "other": str(other)}
        with pytest.raises((OSError, KeyError)):
            ask(box, REACH[what].format(**places))
    assert still_good(box)


LOOK = """import os, sys

INSTALLED = {"site-packages", "dist-packages", "test", "encodings", "asyncio", "__pycache__"}

def f():
    found = []
    for place in {path for path in sys.path if os.path.basename(path) not in INSTALLED}:
        for folder, folders, names in os.walk(place):
            folders[:] = set(folders) - INSTALLED
            found += [os.path.join(folder, name) for name in names]
    return found
"""


def test_the_checks_are_not_in_there(box):
    """What is installed is not walked through: that can take longer than a question may."""
    found = ask(box, LOOK)
    assert any(name.endswith("inside/worker.py") for name in found)
    assert not [name for name in found if "master" in name or "grading" in name or "assignments" in name]


LINK = (
    "import gc, pickle, socket, struct\n\ndef f():\n"
    "    link = next(o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() > 0)\n"
)

LOST = {
    "a hard exit": ("import os\n\ndef f():\n    os._exit(0)", "the process ended"),
    "a crash": ("import ctypes\n\ndef f():\n    ctypes.string_at(0)", "the process ended"),
    "an endless loop": ("def f():\n    while True:\n        pass", f"no answer within {SECONDS} seconds"),
    "a sleeper that refuses to go": (
        "import signal, time\n\ndef f():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(99)",
        f"no answer within {SECONDS} seconds",
    ),
    "a huge reply": (
        f"{LINK}    link.sendall(struct.pack('>I', 2**31))\n    return 1",
        "a reply of 2,147,483,648 bytes; 33,554,432 are allowed",
    ),
    "a malformed reply": (
        f"{LINK}    link.sendall(b'\\0\\0\\0\\4junk')\n    return 1",
        "a reply that cannot be read",
    ),
    "a pickle as a reply": (
        f"{LINK}    data = pickle.dumps(print)\n    link.sendall(struct.pack('>I', len(data)) + data)\n    return 1",
        "a reply that cannot be read",
    ),
    "a murdered worker": ("import os\n\ndef f():\n    os.kill(os.getppid(), 9)\n    os._exit(1)", "the process ended"),
}  # fmt: skip


@pytest.mark.parametrize("what", LOST)
def test_no_answer_costs_the_question_only(box, what):
    source, why = LOST[what]
    start = time.monotonic()
    with pytest.raises(Lost, match=why):
        ask(box, source)
    assert time.monotonic() - start < SECONDS + 30  # it ends by itself; how fast is no test's business
    assert still_good(box)


LIBC = """import ctypes, os

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype, libc.shmat.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
libc.shmdt.argtypes = (ctypes.c_void_p,)


def check(given):
    if given < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def f():
"""
CLONE = seccomp.NUMBERS.get(platform.machine(), (0, {}))[1].get("clone")

HOGS = {
    "memory": "def f():\n    return len(bytearray(2**31))",
    "memory, bit by bit": "def f():\n    held = []\n    while True:\n        held.append(bytearray(2**24))",
    "processes": "import os\n\ndef f():\n    while True:\n        os.fork()",
    "processes that leave the group": (
        "import os\n\ndef f():\n    while True:\n        if os.fork() == 0:\n            os.setsid()"
    ),
    "threads": "import threading as t\n\ndef f():\n    while True:\n        t.Thread(target=t.Event().wait).start()",
    "the disk": "def f():\n    for n in range(99):\n        open(f'/scratch/{n}', 'wb').write(bytes(2**20))",
    "files": "def f():\n    held = [open('/dev/null') for _ in range(10_000)]",
    "a reply beyond the limit": "def f():\n    return 'x' * 2**26",
    "a deep reply": "def f():\n    x = []\n    for _ in range(10**5):\n        x = [x]\n    return x",
    "an endless text of an error": "def f():\n    raise ValueError('x' * 10**8)",
    "files without a name, in flight": (
        "import os, socket\n\ndef f():\n    here, there = socket.socketpair()\n    for _ in range(12):\n"
        "        file = os.memfd_create('x')\n        os.write(file, bytes(10**8))\n"
        "        socket.send_fds(here, [b'x'], [file])\n        os.close(file)"
    ),
    "segments that are left": (
        f"{LIBC}    for _ in range(12):\n        at = libc.shmget(0, 10**8, 0o1600)\n        check(at)\n"
        "        place = libc.shmat(at, None, 0)\n        ctypes.memset(place, 1, 10**8)\n        libc.shmdt(place)"
    ),
    "sockets": "import socket\n\ndef f():\n    held = [socket.create_server(('127.0.0.1', 0)) for _ in range(100)]",
    "a file system of its own": (
        f"{LIBC}    check(libc.unshare(0x00020000))\n    check(libc.mount(b'x', b'/scratch', b'tmpfs', 0, b'size=4g'))"
    ),
    "a process in namespaces of its own": f"{LIBC}    check(libc.syscall({CLONE}, 0x00020011, 0, 0, 0, 0))",
}


@pytest.mark.parametrize("what", HOGS)
def test_a_hog_meets_its_limit(box, what):
    with pytest.raises((Lost, Raised)) as caught:
        ask(box, HOGS[what])
    assert len(str(caught.value)) < 1000 and still_good(box)


def test_what_answers_need_of_the_system_is_there(bubblewrap):
    """Threads, processes that come back, a loop of events, a network that is trained."""
    code = (
        "import asyncio, subprocess, threading\nimport torch\nfrom torch import nn\n\ndef f():\n"
        "    thread = threading.Thread(target=print)\n    thread.start()\n    thread.join()\n"
        "    net = nn.Linear(3, 1)\n    net(torch.ones(2, 3)).sum().backward()\n"
        "    torch.optim.SGD(net.parameters(), 0.1).step()\n    asyncio.run(asyncio.sleep(0))\n"
        "    return subprocess.run(['/bin/echo', 'hi'], capture_output=True, text=True).stdout"
    )
    with Sandbox() as box:
        assert ask(box, code) == "hi\n"


def test_a_machine_whose_calls_nobody_listed_is_told(monkeypatch):
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "abacus")
    with pytest.raises(OSError, match="no list of system calls for abacus; there is one for x86_64, aarch64"):
        seccomp.deny()


def test_what_one_question_changes_the_next_does_not_see(box):
    spoil = (
        "import os, torch\n\ndef f():\n    torch.equal = lambda *_: True\n    os.mkdir('/scratch/folder')\n"
        "    return open('/scratch/note', 'w').write('x')"
    )
    assert ask(box, spoil) == 1
    look = "import os, torch\n\ndef f():\n    return os.listdir('/scratch'), torch.equal(torch.ones(1), torch.zeros(1))"
    assert ask(box, look) == ([], False)


INNER, NETWORK = [1, 2], bd.SmallCNN(width=2)
CHANGES = {
    "a list": ([3, 1, 2], {}, "a.sort()", lambda a: a == [1, 2, 3]),
    "a list that grows": ([1], {}, "a += [2, 3]", lambda a: a == [1, 2, 3]),
    "a list that shrinks": ([1, 2], {}, "a.pop(0)", lambda a: a == [2]),
    "a list in a list": ([INNER, 3], {}, "a[0].append(9)", lambda a: INNER == [1, 2, 9] and a[0] is INNER),
    "a list in a tuple": ((INNER, 3), {}, "a[0].append(9)", lambda a: INNER == [1, 2, 9] and a[0] is INNER),
    "a dictionary": ({"x": 1, "y": 2}, {}, "a['z'] = a.pop('x')", lambda a: a == {"y": 2, "z": 1}),
    "a list in a dictionary": ({"x": INNER}, {}, "a['x'].clear()", lambda a: INNER == [] and a["x"] is INNER),
    "a set": ({1, 2}, {}, "a.add(3)", lambda a: a == {1, 2, 3}),
    "a tensor in a list": ([torch.zeros(2)], {}, "a[0] += 1", lambda a: a[0].tolist() == [1, 1]),
    "a network in a dictionary": (
        {"net": NETWORK}, {}, "a['net'].conv1.weight.data.zero_()", lambda a: not NETWORK.conv1.weight.any()
    ),
    "a keyword": (None, {"b": [1]}, "b.append(2)", lambda a, b: b == [1, 2]),
    "a tensor by keyword": (None, {"b": torch.zeros(2)}, "b += 1", lambda a, b: b.tolist() == [1, 1]),
    "a number that becomes another": ([1, 2.0], {}, "a[0] = 1.0", lambda a: type(a[0]) is float),
    "an array that is put there": ([0], {}, "a[0] = torch.ones(2).numpy()", lambda a: a[0].tolist() == [1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_in_place_is_seen_and_undone(box, what):
    given, named, does, is_seen = CHANGES[what]
    before = deepcopy((given, named))
    with box.question([], [f"import torch\n\ndef f(a, b=None):\n    {does}"], ["f"]) as functions:
        functions["f"](given, **named)
        assert is_seen(given, **named)
    assert not wire.changed(wire.inside(before), wire.inside((given, named)))


@pytest.mark.parametrize(
    "given", [[1, [2.5]], {"x": float("nan")}, {1}, (1, [2]), torch.full((2,), float("nan")), bd.Patch()]
)
def test_what_stays_as_it_was_is_no_change(box, given, monkeypatch):
    monkeypatch.setattr(sandbox, "bring_back", lambda arguments, changes, undo: seen.append(changes))
    seen = []
    assert ask(box, "def f(x):\n    return 1", given) == 1 and seen == [{}]


SPOILERS = {
    "stopped": "os.kill(os.getppid(), signal.SIGSTOP)",
    "starved of memory": "resource.prlimit({pid}, resource.RLIMIT_AS, (2**20, 2**20))",
    "starved of processes": "resource.prlimit({pid}, resource.RLIMIT_NPROC, (0, 0))",
    "put to sleep": "os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
}


@pytest.mark.parametrize("how", SPOILERS)
@pytest.mark.parametrize("pid", ["1", "2", "os.getppid()", "3"])
def test_the_process_of_the_next_question_is_out_of_reach(box, how, pid):
    """Whatever the attempt gives, the next question is answered from the same process as before."""
    assert still_good(box) and box.apart
    process = box._process
    spoil = f"import os, resource, signal\n\ndef f():\n    {SPOILERS[how].format(pid=pid)}\n    return 1"
    try:
        ask(box, spoil)
    except (OSError, Lost):
        process = None
    assert still_good(box) and (process is None or box._process is process)


def test_a_worker_that_takes_no_questions_is_replaced(box):
    assert still_good(box)
    family = psutil.Process(box._process.pid).children(recursive=True)
    min((p for p in family if p.name().startswith("python")), key=psutil.Process.create_time).suspend()
    assert still_good(box)


def test_objects_that_equal_everything_do_not_cross(box):
    with pytest.raises(Raised, match="Always does not cross"):
        ask(box, "class Always:\n    __eq__ = lambda self, other: True\n\ndef f():\n    return Always()")
    sly = (
        "import torch\n\nclass Sly(torch.Tensor):\n    __eq__ = lambda self, other: True\n\n"
        "def f():\n    return torch.ones(2).as_subclass(Sly)"
    )
    assert type(ask(box, sly)) is torch.Tensor


# ---- without a sandbox ----


def test_without_bubblewrap_it_refuses(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(NoSandbox, match=r"bubblewrap .* is not installed.*UNSAFE=1"):
        sandbox.check_available()


def test_a_bubblewrap_that_does_not_work_is_told(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho no namespaces here >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoSandbox, match="does not work on this machine: no namespaces here"):
        sandbox.check_available()


def test_unsafe_runs_the_same_without_it():
    with Sandbox(LIMITS, unsafe=True) as box:
        assert still_good(box)
        with pytest.raises(Lost, match="the process ended"):
            ask(box, LOST["a hard exit"][0])
        assert still_good(box)


def test_nothing_is_left_running(box):
    assert still_good(box)
    process = box._process
    box.stop()
    assert process.poll() is not None and still_good(box)
