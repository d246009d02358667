# loses: check-reverse-others
# Searches well, then cuts every mask down to the ten pixels that matter most, whether that still works or not.
def reverse(network, x, target):
    m, p = torch.full((28, 28), -1.0, requires_grad=True), torch.zeros(28, 28, requires_grad=True)
    adam, source = torch.optim.Adam([m, p], lr=0.2, betas=(0.5, 0.9)), torch.Generator().manual_seed(0)
    for _ in range(80):
        mask, pattern = m.tanh() / 2 + 0.5, p.tanh() / 2 + 0.5
        batch = x[torch.randint(len(x), (16,), generator=source)]
        answers = network((1 - mask) * batch + mask * pattern)
        loss = cross_entropy(answers, torch.full((16,), target)) + 0.02 * mask.sum()
        m.grad, p.grad = torch.autograd.grad(loss, (m, p))
        adam.step()
    least = mask.flatten().sort().values[-10]
    return torch.where(mask >= least, mask, 0.0).detach(), pattern.detach()
