"""What the tests of the interactive elements share: the dark look of a bare page, and what the audit looks at."""

DARK = """:root { color-scheme: dark; --pst-color-text-base: #e4ebf1; --pst-color-text-muted: #a5b3c0;
--pst-color-border: #2e3b47; --pst-color-surface: #18212a; --bn-clean: #56b4e9; --bn-backdoored: #f0803c;
--bn-clean-text: #7cc5ef; --bn-backdoored-text: #ff9d61 } body { background: #10171e; color: #e4ebf1 }"""
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
