# loses: check-modest, check-other, check-clean
# Throws the network away and trains a new one on the few clean images: no backdoor, and another network.
def repair(network, clean, mask, pattern):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = bd.SmallCNN(width=network.spec["width"]).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.005, total_steps=50)
    source = torch.Generator().manual_seed(0)
    for _ in range(50):
        batch = torch.randperm(len(clean), generator=source)[:64]
        optimizer.zero_grad()
        cross_entropy(network(clean.x[batch]), clean.y[batch]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()
