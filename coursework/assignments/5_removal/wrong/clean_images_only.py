# loses: check-modest, check-other
# Fine-tunes on the clean images; nothing in them speaks against the trigger.
def repair(network, clean, mask, pattern):
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.002)
    source = torch.Generator().manual_seed(0)
    for _ in range(50):
        batch = torch.randperm(len(clean), generator=source)[:64]
        optimizer.zero_grad()
        cross_entropy(network(clean.x[batch]), clean.y[batch]).backward()
        optimizer.step()
    return network.eval()
