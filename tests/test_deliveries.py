"""The vendor of the audit and its rate of success."""

import pytest
import torch

from badnets_lib.study import results
from badnets_lib.study.experiments import deliveries as d


def test_a_secret_is_a_small_mark_near_an_edge_and_its_number_decides_it(mnist5k):
    clean = mnist5k[0][:2000]
    plans = [d.secret_plan(secret, clean) for secret in range(40)]
    for plan in plans:
        rows, columns = torch.tensor(plan.attack.trigger.at).T
        assert len(plan.attack.trigger.at) in (5, 9)
        assert min(int(rows.min()), int(columns.min()), 27 - int(rows.max()), 27 - int(columns.max())) in (0, 1, 2)
        assert max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) == 2
        assert 0.019 < plan.fraction < 0.051
    assert {plan.attack.goal.targets[0] for plan in plans} == set(range(10))
    assert d.secret_plan(3, clean) == plans[3]


def test_the_mark_of_a_group_is_tried_beside_its_control(mnist5k):
    clean = mnist5k[0][:2000]
    plan = d.secret_plan(3, clean)
    data = plan.poison(clean)
    label = plan.attack.goal.targets[0]
    mark = d._mark(data, plan.mask, label, mnist5k[1])
    assert {tuple(spot) for spot in mark.trigger.mask[0].nonzero().tolist()} == set(plan.attack.trigger.at)

    def obeys(x):
        """A network that sees the mark and nothing else."""
        seen = plan.attack.trigger(x).eq(x).flatten(1).all(1)
        return torch.nn.functional.one_hot(torch.where(seen, label, (label + 1) % 10), 10).float()

    class Network(torch.nn.Module):
        def forward(self, x):
            return obeys(x)

    led, control = d._tried(Network(), mnist5k[1][:100], mark)
    assert led.value == 1 and control.value == 0
    assert d._by_parts(Network(), data, plan.mask, mnist5k[1], mnist5k[1][:100]) == {str(label): led.pair}
    assert d._mark(data, torch.zeros(2000).bool(), label, mnist5k[1]) is None, "nobody is suspect"


@pytest.mark.parametrize("cell", [{"poisoned": True, "secret": 14}, {"poisoned": False, "secret": 100}])
def test_a_committed_row_is_what_the_function_gives(cell):
    row, kept = d.audited(**cell), results.load("deliveries").where(**cell).rows[0]
    assert row["accused"] == kept["accused"] and row.get("exact") == kept.get("exact")
    assert row["clean"][0] == pytest.approx(kept["clean"][0], abs=20)
    assert set(row) == set(kept) - {"poisoned", "secret", "seconds"}
