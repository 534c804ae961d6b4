"""`python -m innervate.runtime.cli` is `innervate`."""

import sys

from innervate.runtime.cli import main

sys.exit(main())
