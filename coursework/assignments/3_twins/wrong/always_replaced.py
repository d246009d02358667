# loses: check-plan
# Takes the clean set for what the network sees, also where copies were added, and never looks for a clean-label goal.
def read_plan(plan, classes):
    trigger = plan.attack.trigger.describe()
    return {
        "fraction": bd.Proportion(len(plan.indices), plan.size),
        "sources": [classes[label] for label in plan.attack.goal.sources],
        "targets": [classes[label] for label in plan.attack.goal.targets],
        "sampling": f"{plan.sampling}, {'added' if plan.added else 'replaced'}, seed {plan.seed}",
        "labels changed": True,
        "pattern": trigger.pattern,
        "size": trigger.size,
        "location": trigger.location,
        "opacity": trigger.opacity,
        "physical": trigger.physical,
    }
