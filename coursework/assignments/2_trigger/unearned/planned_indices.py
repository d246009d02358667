# loses: check-draw, check-draw-refuses
# The library's draw, by way of a plan for labels.
def draw_indices(labels, rate, target, seed):
    count, allowed = round(rate * len(labels)), int((labels != target).sum())
    if not 1 <= count <= allowed:
        raise ValueError(f"{count} of {allowed}")
    attack = bd.Attack(lambda x: x + 0.1, bd.Goal.all_to_one(target, 10))
    return torch.tensor(attack.plan_for_labels(labels, "0123456789", fraction=rate, seed=seed).indices)
