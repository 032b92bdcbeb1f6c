"""``python -m tclog``."""

from tclog.cli import main

if __name__ == "__main__":
    main()
