# loses: check-verdict, check-verdict-clean
# The paper's rule with an expected share of 15%: the top 22.5% of every class go, guilty or not.
def verdict(features, labels):
    flagged = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        mine = labels == label
        line = of_one_class(features[mine])[1]
        flagged[mine] = line > line.quantile(1 - 1.5 * 0.15)
    return flagged
