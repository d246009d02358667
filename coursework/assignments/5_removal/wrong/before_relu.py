# loses: check-activity, check-prune-within
# Looks at what goes into the ReLU, so the order of the channels is another one.
def activity(network, x):
    with torch.no_grad():
        for name, layer in network.named_children():
            x = layer(x)
            if name == "norm2":
                break
    return x.mean((0, 2, 3))
