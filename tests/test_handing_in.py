"""What of a notebook is loaded: what runs in Jupyter does what it does there, and tries change nothing."""

import sys

import pytest

from badnets_lib.handing_in import load

GIVEN = [
    "import math\n\nimport torch\nfrom torch import Tensor",
    "SIZE, RATE = 4, 0.05\nTABLE = {1: 2}\n\ndef helper(x):\n    return x",
]


def loaded(*sources, wanted=("f",)):
    return load(GIVEN, sources, wanted)


# ---- what is filled before it is used ----

FILLED = {
    "for": "T = {}\nfor at in range(3):\n    T[at] = at",
    "while": "T = []\nwhile len(T) < 3:\n    T.append(len(T))",
    "if": "T = {}\nif SIZE == 4:\n    T.update({1: 1})",
    "try": "T = {}\ntry:\n    T[1] = 1\nfinally:\n    pass",
    "with": "import contextlib\nT = {}\nwith contextlib.nullcontext():\n    T[1] = 1",
    "del": "T = [0, 0, 1]\ndel T[0]",
    "a row of it": "T = [0, [0]]\nfor row in T[1:]:\n    row[0] = 1\nT = [0, T[1][0]]",
    "rows with numbers": "rows = [[0], [0]]\nfor at, row in enumerate(rows):\n    row.append(at)\nT = {1: rows[1][1]}",
    "another name of it": "T = {}\nU = T\nU[1] = 1",
    "a part by another name": "D = {'a': [0]}\npart = D['a']\npart.append(1)\nT = D['a']",
    "a comprehension": "T = []\n[T.append(at) for at in range(3)]",
    "map": "T = []\nlist(map(T.append, [0, 1]))",
    "a module's function": "import heapq\nT = []\nfor at in (1, 0):\n    heapq.heappush(T, at)",
    "a guarded module's function": (
        "try:\n    import numpy as np\nexcept ImportError:\n    pass\nT = np.zeros(2)\nnp.put(T, [1], [1])"
    ),
    "a helper": "T = []\ndef fill(rows):\n    rows += [0, 1]\nfill(T)",
    "a helper's helper": "T = {}\ndef put(t):\n    t[1] = 1\ndef fill(t):\n    put(t)\nfill(T)",
    "a helper by keyword": "T = {}\ndef fill(*, t):\n    t[1] = 1\nfill(t=T)",
    "a helper in a test": "T = {}\ndef fill(t):\n    t[1] = 1\n    return t\nassert fill(T)",
    "a helper without arguments": "T = {}\ndef fill():\n    T[1] = 1\nfill()",
    "a helper that walks": "L = [[0]]\ndef fill():\n    for row in L:\n        row[0] = 1\nfill()\nT = {1: L[0][0]}",
    "a lambda": "T = {}\nput = lambda key: T.update({key: 1})\nput(1)",
    "a partial function": (
        "import functools\nT = {}\ndef put(key, value):\n    T[key] = value\none = functools.partial(put, 1)\none(1)"
    ),
    "global": "def setup():\n    global T\n    T = {1: 1}\nsetup()",
    "global in a method": (
        "class Maker:\n    def make(self):\n        global T\n        T = {1: 1}\nmaker = Maker()\nmaker.make()"
    ),
    "the main program": "T = {}\ndef main():\n    T[1] = 1\nif __name__ == '__main__':\n    main()",
    "an object's method": (
        "class Rows(dict):\n    def put(self, key):\n        self[key] = 1\nT = Rows()\nfor at in 1, 2:\n    T.put(at)"
    ),
    "a register": "T = {}\ndef register(f):\n    T[1] = f()\n    return f\n@register\ndef one():\n    return 1",
    "a register with names": (
        "T = {}\ndef register(name):\n    def keep(f):\n        T[name] = f()\n        return f\n    return keep\n"
        "@register(1)\ndef one():\n    return 1"
    ),
    "a list as a register": "L = []\ndef add(f):\n    L.append(f)\n@add\ndef one():\n    return 1\nT = {1: L[0]()}",
    "an object as a register": (
        "class Register(dict):\n    def __call__(self, f):\n        self[1] = f()\n        return f\nT = Register()\n"
        "@T\ndef one():\n    return 1"
    ),
    "subclasses": (
        "class Base:\n    made = {}\n    def __init_subclass__(cls):\n        Base.made[1] = 1\n"
        "class One(Base):\n    pass\nT = Base.made"
    ),
    "a metaclass": (
        "T = {}\nclass Meta(type):\n    def __init__(cls, *rest):\n        T[1] = 1\n"
        "class One(metaclass=Meta):\n    pass"
    ),
    "setattr": "class C:\n    pass\nsetattr(C, 'one', 1)\nT = {1: C.one}",
    "setattr in a loop": "class C:\n    pass\nfor name in ('one', 'two'):\n    setattr(C, name, 1)\nT = {1: C.one}",
    "a class that a helper extends": "class C:\n    pass\ndef extend(c):\n    c.one = 1\nextend(C)\nT = {1: C.one}",
    "an attribute": "class C:\n    pass\nC.one = 1\nT = {1: C.one}",
}  # fmt: skip


@pytest.mark.parametrize("how", FILLED)
def test_what_is_filled_in_jupyter_is_filled(how):
    namespace, problems = loaded(FILLED[how], "def f(x):\n    return T[1]")
    assert not problems and namespace["f"](1) == 1


def test_functions_that_are_dispatched_by_type_are_all_there():
    ways = (
        "@area.register\ndef _(x: int):\n    return 'int'\n@area.register(str)\ndef _(x):\n    return 'str'",
        "def of_list(x):\n    return 'list'\narea.register(list, of_list)",
    )
    area = "import functools\n@functools.singledispatch\ndef area(x):\n    return 'any'"
    namespace, problems = loaded(area, *ways, "def f(x):\n    return area(x)")
    assert not problems and [namespace["f"](x) for x in (1, "", [], 1.5)] == ["int", "str", "list", "any"]


def test_annotations_may_wait():
    namespace, problems = loaded("from __future__ import annotations", "def f(x: Unknown) -> Later:\n    return x")
    assert not problems and namespace["f"](3) == 3


UNNEEDED = """
import time
EPOCHS, RATES = 3, [0.1, 0.2]
class Net:
    pass
def train(epochs):
    raise SystemExit
def judge(kind):
    return kind(1)
for rate in RATES:
    train(rate)
net = train(EPOCHS)
train(RATE)
for key, value in TABLE.items():
    train(value)
print(TABLE, RATES, Net)
judge(Net)
seen = f(3)
time.sleep(60)
raise SystemExit
"""


def test_what_only_looks_at_a_needed_value_does_not_run():
    namespace, problems = loaded(UNNEEDED, "def f(x):\n    return EPOCHS + RATES[0] + RATE + TABLE[1], Net")
    assert not problems and namespace["f"](1)[0] == 5.15 and "net" not in namespace


# ---- tries ----

TRIES = {
    "for": "for RATE in (0.1, 0.2):\n    pass",
    "with": "with open('/dev/null') as RATE:\n    pass",
    "walrus": "(RATE := 0.3)",
    "walrus in a comprehension": "[RATE := 0.3 for _ in range(2)]",
    "if": "if True:\n    RATE = 0.3",
    "def": "def RATE():\n    pass",
    "class": "class RATE:\n    pass",
    "del": "del RATE",
    "except": "try:\n    1 / 0\nexcept ArithmeticError as RATE:\n    pass",
    "match": "match 0.3:\n    case RATE:\n        pass",
    "import": "import numpy as RATE",
    "global": "def ease():\n    global RATE\n    RATE = 0.3\n\n\nease()",
    "annotated": "RATE: float = 0.3",
    "a module": "math = 3",
    "another module": "import numpy as math",
    "a given name by import *": "from numpy import *\nfrom torch import *\nmath = 3",
    "a part": "TABLE[1] = 3",
    "a part, deleted": "del TABLE[1]",
    "a helper": "def helper(x):\n    return 0",
    "a builtin": "sum = len = 3",
    "a builtin in a loop": "for sum in range(3):\n    pass",
    "a builtin as a function": "def sum(x):\n    return 0",
    "a builtin by import *": "from numpy import *",
    "a needed name, deleted": "del mine",
    "a needed name by import *": "from numpy import *",
}  # fmt: skip
ANSWER = "def mine(x):\n    return x\n\ndef pad(x):\n    return x\n\ndef f(x):\n"
ANSWER += "    return pad(mine(sum(each for each in (RATE, TABLE[1], helper(1), math.floor(x)))))"


@pytest.mark.parametrize("how", TRIES)
def test_a_try_replaces_nothing_and_is_told(how):
    namespace, problems = loaded(ANSWER, TRIES[how])
    assert namespace["f"](1.5) == 4.05
    assert problems and all("of a cell is left out: it replaces" in problem for problem in problems)


@pytest.mark.parametrize(
    "source",
    [
        "import math, torch.nn, numpy as np\nfrom torch import Tensor",
        "from math import *\n\ndef mine(x):\n    return pow(x, 1)",
        "def ease():\n    global RATE\n    RATE = 0.3",
        "print(RATE, TABLE)\nTABLE.items()\nRATE == 3",
        "def use(RATE):\n    math = RATE\n    return math",
        "torch.manual_seed(0)",
    ],
)
def test_what_replaces_nothing_is_no_try(source):
    namespace, problems = loaded(ANSWER, source)
    assert not problems and namespace["f"](1.5) == 4.05


def test_what_replaces_a_builtin_above_an_answer_is_meant():
    namespace, problems = loaded("def sum(x):\n    return 7", "def f(x):\n    return sum([x])")
    assert not problems and namespace["f"](1) == 7
    namespace, problems = loaded("from numpy import *", "def f(x):\n    return sum([[x, x]], axis=1)[0]")
    assert not problems and namespace["f"](1) == 2


# ---- what is told ----


@pytest.mark.parametrize(
    "source",
    [
        "from multiprocessing import Pool\n\ndef f(x):\n    return Pool(2).map(abs, [x])",
        "import torch.multiprocessing as mp\n\ndef f(x):\n    return mp.Pool(2).map(abs, [x])",
        "def f(x):\n    from joblib import Parallel\n    return Parallel(2)",
        "import concurrent.futures\n\ndef f(x):\n    return concurrent.futures.ProcessPoolExecutor()",
        "from torch.utils.data import DataLoader\n\ndef f(x):\n    return DataLoader(x, num_workers=2)",
    ],
)
def test_who_shares_work_between_processes_is_told(source):
    _, problems = loaded(source)
    assert problems and "where it is graded, no work is shared between processes" in problems[0]


def test_a_statement_that_the_compiler_refuses_costs_itself():
    namespace, problems = loaded("def f(x):\n    return x\n\ndef g():\n    nonlocal x")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert namespace["f"](3) == 3
    assert problems[0].startswith(f"line 4 of a cell could not be read by Python {version}, which marks it: no binding")


def test_a_module_that_is_not_there_is_told_whatever_it_brings():
    _, problems = loaded("from no_such_module import *", "def f(x):\n    return x")
    assert problems == [
        "line 1 of a cell failed: ModuleNotFoundError: No module named 'no_such_module'"
        " (the cell that begins 'from no_such_module import *')"
    ]
