# loses: check-prune-within
# Prunes in place and keeps a second name of the same network, so the channel that cost too much is silent as well.
def prune_within(network, data, most):
    current = copy.deepcopy(network)
    floor = bd.clean_accuracy(current, data).hits - most
    best, done = current, []
    for channel in activity(network, data.x).argsort(stable=True).tolist():
        with torch.no_grad():
            for weight in (current.conv2.weight, current.norm2.weight, current.norm2.bias):
                weight[channel] = 0
        if bd.clean_accuracy(current, data).hits < floor:
            break
        best = current
        done.append(channel)
    return done, best
