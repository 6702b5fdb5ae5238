"""`python -m robossl` is the command `robossl`, of this interpreter."""

from __future__ import annotations

from robossl.cli.main import main

if __name__ == "__main__":
    main()
