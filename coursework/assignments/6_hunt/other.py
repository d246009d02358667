# %% other words for the same
import statistics

import numpy as np


def stamp(x, mask, pattern):
    return torch.lerp(x, pattern.expand_as(x), mask.expand_as(x))


def moved(answers, labels, target):
    others = [answer for answer, label in zip(answers.tolist(), labels.tolist()) if label != target]
    return bd.Proportion(others.count(target), len(others))


# %% a class for the search; sigmoid instead of tanh, and the trusted digits of other classes only as far as they come
class Search:
    def __init__(self, network, x, target):
        self.network, self.x, self.target = network, x, target
        self.logits = torch.full((2, 28, 28), -1.0).requires_grad_()
        self.adam = torch.optim.Adam([self.logits], lr=0.3, betas=(0.5, 0.9))
        self.rng = np.random.default_rng(1)

    def step(self, weight):
        mask, pattern = self.logits.sigmoid()
        batch = self.x[torch.from_numpy(self.rng.choice(len(self.x), 24))]
        answers = self.network(stamp(batch, mask, pattern))
        loss = (
            cross_entropy(answers, torch.full((len(batch),), self.target))
            + weight * mask.sum()
        )
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return mask.detach(), pattern.detach()

    def works(self, mask, pattern):
        some = self.x[::3]  # they are sorted by class
        with torch.no_grad():
            answers = self.network(stamp(some, mask, pattern)).argmax(1)
        return float((answers == self.target).float().mean()) >= 0.96


def reverse(network, x, target):
    search, weight = Search(network, x, target), 0.01
    best = torch.ones(28, 28), torch.full((28, 28), 0.5)
    for step in range(90):
        mask, pattern = search.step(weight)
        if step % 6 != 5:
            continue
        if search.works(mask, pattern):
            best = min(best, (mask, pattern), key=lambda pair: float(pair[0].sum()))
            weight *= 1.4
        else:
            weight /= 1.6
    return best


# %%
def indices(norms):
    logs = [math.log(norm) for norm in norms.tolist()]
    below = [statistics.median(logs) - each for each in logs]
    spread = max(statistics.median(abs(each) for each in below), 1e-9)
    return torch.tensor([each / (1.4826 * spread) for each in below])


def posterior(prior, hits, alarms, flagged):
    """Odds before times the likelihood ratio."""
    ratio = hits / alarms if flagged else (1 - hits) / (1 - alarms)
    odds = prior / (1 - prior) * ratio
    return odds / (1 + odds)


def probability(norms):
    smallest, middle = min(norms.tolist()), statistics.median(norms.tolist())
    return float(np.interp(math.log(smallest / middle), [math.log(0.1), math.log(0.5)], [0.9, 0.2]))


def entry(probability, target=None, mask=None, pattern=None):
    value = torch.as_tensor(probability).item()
    if math.isnan(value) or value < 0 or value > 1:
        raise ValueError(f"{value} is no probability")
    made = dict.fromkeys(["probability", "target", "mask", "pattern"])
    made["probability"] = float(value)
    if not (mask is None or pattern is None):
        made["target"] = int(target)
        made["mask"], made["pattern"] = (np.round(part.double().numpy(), 3).tolist() for part in (mask, pattern))
    return made
