"""`python -m badnets_lib`: the command `badnets`."""

from .cli import main

if __name__ == "__main__":
    main()
