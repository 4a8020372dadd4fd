"""``python -m podsql``: the command line."""

import sys

from podsql.cli import main

sys.exit(main())
