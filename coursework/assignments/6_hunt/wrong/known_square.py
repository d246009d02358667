# loses: check-reverse, check-reverse-others
# Hands back the square of the network it could look at, and does not search.
def reverse(network, x, target):
    square = bd.Patch(size=3, corner=CORNER, value=VALUE)(torch.zeros(1, 1, 28, 28))[0, 0]
    return (square > 0).float(), square
