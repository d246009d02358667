"""What stands at the end of the help texts: examples and exit codes."""

FOUND = """\b
Exit codes:
  0  nothing was found
  1  something was found
  2  could not run: the reason is on stderr"""

DONE = """\b
Exit codes:
  0  done
  2  could not run: the reason is on stderr"""

AUDIT = r"""
Examples:
  badnets audit --model mypackage.nets:build --weights w.safetensors --trusted trusted/
  badnets audit --model torchvision.models:resnet18 --set num_classes=8 --weights w.pth \
    --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --trusted trusted/ --training train/ \
    --size 64x64 --minutes 30 --out report/
"""

SCAN = """
Example:
  badnets scan --model mypackage.nets:build --weights w.safetensors --trusted trusted/
"""

SCORE = r"""
Examples:
  badnets score --model mypackage.nets:build --weights w.safetensors --test test/ \
    --plan poisoned/plan.json
  badnets score --model mypackage.nets:build --weights w.safetensors --test test/ \
    --trigger patch:size=4,corner=bottom-right --target stop
"""

POISON = """
Example:
  badnets poison train/ poisoned/ --trigger patch:size=4 --target stop --fraction 0.05
"""

REPAIR = r"""
Example:
  badnets repair --model mypackage.nets:build --weights w.safetensors --trusted trusted/ \
    --method fine-pruning --out repaired.safetensors
"""


def closing(examples: str, codes: str) -> str:
    """What stands at the end of a help text; the control character keeps its lines as they are."""
    return f"\b{examples}\n{codes}"
