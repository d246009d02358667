# loses: check-prune, check-prune-within
# Sets the convolution's weights to 0 and forgets that batch norm still adds its shift.
def prune(network, channels):
    pruned = copy.deepcopy(network)
    with torch.no_grad():
        pruned.conv2.weight[channels] = 0
    return pruned
