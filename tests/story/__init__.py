"""The promises as stories: the same for every store, told by real processes. Numbered."""
