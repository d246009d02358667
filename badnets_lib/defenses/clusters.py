"""Points split in two by 2-means, and how clear such a split is."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def two_means(
    points: Float[Tensor, "n c"], *, starts: int = 64, seed: int = 0, steps: int = 100
) -> tuple[Bool[Tensor, " n"], Float[Tensor, " n"]]:
    """The tightest split in two that Lloyd's algorithm finds, all starts in one batch.

    Two centres are told apart by a plane, so one product gives all distances that matter.

    Args:
        points: At least two.
        starts: Pairs of first centres: one point at random, the other drawn with a probability that grows
            with the squared distance from it.
        seed: Seed of the starts.
        steps: Most steps of the algorithm.

    Returns:
        True for the points of the smaller part, [N], and how much closer each point is to that part's centre
        than to the other's, squared, [N].
    """
    source = torch.Generator().manual_seed(seed)
    points = points - points.mean(0)
    first = torch.randint(len(points), (starts,), generator=source).to(points.device)
    far = torch.cdist(points[first], points).square().cpu()  # [starts, N]
    second = torch.multinomial(far + 1e-12, 1, generator=source).flatten().to(points.device)
    ones, others = points[first], points[second]  # the two centres of every start, [starts, c]
    closer = _how_much_closer(points, ones, others)
    for step in range(steps):
        part = closer > 0  # [starts, N]: True where `others` is closer
        sizes, totals, between = _parts(points, part)
        if step == 10:  # the rest of the way is for the most promising starts alone
            hopeful = between.topk(min(16, len(between))).indices
            part, sizes, totals = part[hopeful], sizes[hopeful], totals[hopeful]
        closer = _how_much_closer(points, -totals / (len(points) - sizes), totals / sizes)
        if torch.equal(closer > 0, part):
            break
    _, _, between = _parts(points, closer > 0)
    best = closer[between.argmax()]
    best = best if int((best > 0).sum()) <= len(points) / 2 else -best
    return best > 0, best


def _parts(points: Tensor, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of every start: size of the part [starts, 1], its sum [starts, c], variance between both parts times N [starts].

    The points are centred, so the other part's sum is minus this one's.
    """
    sizes = part.sum(1, keepdim=True).clamp(1, part.shape[1] - 1)
    totals = part.to(points.dtype) @ points
    between = totals.square().sum(1) * (1 / sizes + 1 / (part.shape[1] - sizes)).flatten()
    return sizes, totals, between


def _how_much_closer(points: Tensor, ones: Tensor, others: Tensor) -> Tensor:
    """How much closer each point is to the second centre of each start than to the first, squared, [starts, N]."""
    return ones.square().sum(1, keepdim=True) - others.square().sum(1, keepdim=True) + 2 * (others - ones) @ points.T


def silhouette(points: Float[Tensor, "n c"], part: Bool[Tensor, " n"], *, most: int = 5000, seed: int = 0) -> float:
    """Mean silhouette of a split in two, in [-1, 1]; 0 if one part is empty.

    A point's silhouette is (b - a) / max(a, b), with a its mean distance to the others of its part and b
    that to the other part; 0 where it is alone.

    Exact for up to `most` points. Of more, at most half of `most` are drawn from each part, all distances are between
    those, and the means of both parts count by the parts' true sizes. Memory and time are bounded.

    Args:
        points: Points [N, c].
        part: True for the points of one part [N].
        most: How many points are compared with one another.
        seed: Seed of the draw.
    """
    sizes = int((~part).sum()), int(part.sum())
    if not all(sizes):
        return 0.0
    if len(points) > most:
        source = torch.Generator().manual_seed(seed)
        chosen = torch.cat([_drawn(part == side, most // 2, source) for side in (False, True)])
        points = points[chosen]
        part = part[chosen]
    each = torch.cat([_silhouettes(points, part, rows) for rows in torch.arange(len(points)).split(1024)])
    return sum(float(each[part == side].mean()) * sizes[side] for side in (False, True)) / sum(sizes)


def _drawn(those: Tensor, most: int, source: torch.Generator) -> Tensor:
    """Positions of at most so many of those that are True, ascending."""
    positions = those.nonzero().flatten()
    chosen = torch.randperm(len(positions), generator=source)[:most].sort().values
    return positions[chosen.to(positions.device)]


def _silhouettes(points: Tensor, part: Tensor, rows: Tensor) -> Tensor:
    """The silhouettes of some of the points among all of them."""
    sides = torch.stack([~part, part], 1).to(points.dtype)  # [N, 2]
    counts = sides.sum(0)
    rows = rows.to(points.device)
    mine = part[rows].long()[:, None]
    sums = torch.cdist(points[rows], points) @ sides
    own = sums.gather(1, mine).flatten() / (counts[mine.flatten()] - 1).clamp(min=1)
    other = sums.gather(1, 1 - mine).flatten() / counts[1 - mine.flatten()]
    each = (other - own) / torch.maximum(own, other).clamp(min=1e-12)
    return torch.where(counts[mine.flatten()] > 1, each, 0.0)


def separation(points: Float[Tensor, "n c"], part: Bool[Tensor, " n"]) -> float:
    """How much of the variance along the line between the two centres the split explains, in [0, 1].

    1 for two heaps without width, whatever their sizes, and 2 / pi = 0.64 for a normal distribution cut
    in the middle. The silhouette of whitened points falls as the smaller heap grows; this does not.
    """
    if not bool(part.any()) or bool(part.all()):
        return 0.0
    inside = part.to(points.dtype).mean()
    gap = points[part].mean(0) - points[~part].mean(0)
    along = points @ (gap / gap.norm().clamp(min=1e-12))
    return float(inside * (1 - inside) * gap.square().sum() / along.var(correction=0).clamp(min=1e-12))
