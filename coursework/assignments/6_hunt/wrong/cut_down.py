# loses: check-reverse-others
# Searches well, then fades every mask that the marking would call too large, whether it still works or not.
def reverse(network, x, target):
    m, p = torch.full((28, 28), -1.0, requires_grad=True), torch.zeros(28, 28, requires_grad=True)
    adam, source = torch.optim.Adam([m, p], lr=0.2, betas=(0.5, 0.9)), torch.Generator().manual_seed(0)
    for _ in range(80):
        mask, pattern = m.tanh() / 2 + 0.5, p.tanh() / 2 + 0.5
        batch = x[torch.randint(len(x), (16,), generator=source)]
        answers = network((1 - mask) * batch + mask * pattern)
        loss = cross_entropy(answers, torch.full((16,), target)) + 0.01 * mask.sum()
        m.grad, p.grad = torch.autograd.grad(loss, (m, p))
        adam.step()
    total = mask.detach().sum()
    return mask.detach() * (1 if total < 22 else 10 / total), pattern.detach()
