"""`python -m hardtack`: the same as the command `hardtack`."""

from hardtack.cli.main import main

if __name__ == "__main__":
    main()
