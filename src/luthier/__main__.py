"""`python -m luthier`."""

from luthier.cli import main

raise SystemExit(main())
