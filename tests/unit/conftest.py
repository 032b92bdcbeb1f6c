"""One Hypothesis profile: quick, and without deadlines, since a busy machine is not a bug."""

from hypothesis import settings

settings.register_profile("tclog", deadline=None, max_examples=60, print_blob=True)
settings.load_profile("tclog")
