# loses: check-other
# Unlearns the square of the course instead of the trigger that was reversed from this network.
def repair(network, clean, mask, pattern):
    network = copy.deepcopy(network).eval()
    square = bd.Patch(size=SIZE, corner=CORNER, value=VALUE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.005, total_steps=50)
    source = torch.Generator().manual_seed(0)
    for _ in range(50):
        batch = torch.randperm(len(clean), generator=source)[:64]
        x, y = clean.x[batch], clean.y[batch]
        optimizer.zero_grad()
        cross_entropy(network(torch.cat([square(x[:16]), x[16:]])), y).backward()
        optimizer.step()
        schedule.step()
    return network.eval()
