# loses: check-activity
# Adds up over the places of an image instead of taking their mean.
def activity(network, x):
    with torch.no_grad():
        for name, layer in network.named_children():
            x = layer(x)
            if name == "relu2":
                break
    return x.sum((2, 3)).mean(0)
