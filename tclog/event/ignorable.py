"""Invisible characters, as a class of a regular expression. Made by scripts/ignorable.

They have the property Default_Ignorable_Code_Point of DerivedCoreProperties.txt, Unicode Character
Database. The joiners U+200C and U+200D and the emoji selector U+FE0F are apart in ``JOINERS``:
between other characters they change how these look.
"""

JOINERS = "\u200c\u200d\ufe0f"
IGNORABLE = (
    r"\u00ad"
    r"\u034f"
    r"\u061c"
    r"\u115f-\u1160"
    r"\u17b4-\u17b5"
    r"\u180b-\u180f"
    r"\u200b"
    r"\u200e-\u200f"
    r"\u202a-\u202e"
    r"\u2060-\u206f"
    r"\u3164"
    r"\ufe00-\ufe0e"
    r"\ufeff"
    r"\uffa0"
    r"\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3"
    r"\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff"
)
