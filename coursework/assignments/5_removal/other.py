# %% a hook, and masks instead of indices
import itertools

import numpy as np


def activity(network, x):
    heard = []
    hook = network.relu2.register_forward_hook(lambda layer, given, output: heard.append(output.detach()))
    try:
        with torch.inference_mode():
            network(x)
    finally:
        hook.remove()
    return torch.tensor(heard[0].numpy().mean(axis=(0, 2, 3)))


def prune(network, channels):
    silent = torch.tensor([channel in channels for channel in range(network.conv2.out_channels)])
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name in ("norm2.weight", "norm2.bias"):
        state[name] = state[name].masked_fill(silent, 0.0)
    pruned = copy.deepcopy(network)
    pruned.load_state_dict(state)
    return pruned


def right_answers(network, data):
    with torch.no_grad():
        return int(np.sum(network(data.x).argmax(1).numpy() == data.y.numpy()))


def prune_within(network, data, most):
    order = np.argsort(activity(network, data.x).numpy(), kind="stable").tolist()
    before, done = right_answers(network, data), []
    for channel in order:
        if (
            before
            - right_answers(prune(network, [*done, channel]), data)
            > most
        ):
            break
        done.append(channel)
    return done, prune(network, done)


# %%
WORDS = {(True, False): "within budget", (False, True): "over budget", (False, False): "undecided"}


def verdict(before, after, budget):
    success = [count.hits / count.trials for count in (before[1], after[1])]
    if None in (before[0], after[0]):
        return dict(drop=None, interval=None, success=success, verdict="not measured")
    lost = bd.Difference(before[0], after[0])
    ends = list(lost.interval())
    return dict(
        drop=lost.value,
        interval=ends,
        success=success,
        verdict=WORDS[max(ends) <= budget, min(ends) > budget],
    )


# %% unlearning with momentum, epochs of shuffled batches, a third of each stamped
def batches(count, size, rng):
    while True:
        yield from np.array_split(rng.permutation(count), count // size)


def repair(network, clean, mask, pattern):
    healed = copy.deepcopy(network).eval()
    optimizer = torch.optim.SGD(healed.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    for batch in itertools.islice(batches(len(clean), 32, np.random.default_rng(0)), 60):
        chosen = batch.tolist()
        x, y = clean.x[chosen].clone(), clean.y[chosen]
        x[::3] = (1 - mask) * x[::3] + mask * pattern
        optimizer.zero_grad()
        cross_entropy(healed(x), y).backward()
        optimizer.step()
        schedule.step()
    return healed
