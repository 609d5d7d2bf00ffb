"""`python -m tfpt` is the command `tfpt`."""

from tfpt.cli import main

if __name__ == "__main__":
    main()
