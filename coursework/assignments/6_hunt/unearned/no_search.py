# loses: check-reverse, check-reverse-others
# No search: a square in one of the corners if it works, else a whole digit of the target.
def reverse(network, x, target):
    def share(mask, pattern):
        with torch.no_grad():
            return float((network(stamp(x, mask, pattern)).argmax(1) == target).float().mean())

    for rows in (slice(0, 3), slice(25, 28)):
        for columns in (slice(0, 3), slice(25, 28)):
            mask = torch.zeros(28, 28)
            mask[rows, columns] = 1
            if share(mask, mask) > 0.8:
                return mask, mask
    with torch.no_grad():
        digit = x[network(x).softmax(1)[:, target].argmax(), 0]
    return torch.ones(28, 28), digit
