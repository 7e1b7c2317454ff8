"""`python -m treescale`: the command line."""

from treescale.cli.main import main

if __name__ == "__main__":
    main()
