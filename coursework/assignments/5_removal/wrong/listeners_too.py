# loses: check-prune
# Silences the channels and clears the weights that listen to them as well.
def prune(network, channels):
    pruned = copy.deepcopy(network)
    with torch.no_grad():
        for weight in (pruned.conv2.weight, pruned.norm2.weight, pruned.norm2.bias):
            weight[channels] = 0
        pruned.fc1.weight.view(len(pruned.fc1.weight), len(pruned.norm2.weight), -1)[:, channels] = 0
    return pruned
