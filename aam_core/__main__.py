"""`python -m aam_core` is the command `aam`."""

from aam_core.cli.main import main

if __name__ == "__main__":
    main()
