"""The GA4GH Data Use Ontology: the closed list of codes that a project may carry.

Abbreviations and numbers are the ontology's; the words are ours.
"""

from typing import Final, Literal, get_args

Duo = Literal[
    "NRES", "GRU", "HMB", "DS", "POA",
    "RS", "NMDS", "GSO", "NPUNCU", "PUB", "COL", "IRB", "GS", "MOR", "TS", "US", "PS", "IS", "RTN",
    "CC", "NPOA", "NPU", "NCU",
]  # fmt: skip

WORDS: Final[dict[Duo, tuple[str, str]]] = {
    "NRES": ("DUO:0000004", "no restriction"),
    "HMB": ("DUO:0000006", "health or medical research"),
    "DS": ("DUO:0000007", "research on a named disease"),
    "POA": ("DUO:0000011", "research on populations, origins or ancestry only"),
    "RS": ("DUO:0000012", "research of a named kind only"),
    "NMDS": ("DUO:0000015", "no general methods research"),
    "GSO": ("DUO:0000016", "genetic studies only"),
    "NPUNCU": ("DUO:0000018", "not-for-profit organisations, non-commercial use"),
    "PUB": ("DUO:0000019", "results are published"),
    "COL": ("DUO:0000020", "together with the data's first investigators"),
    "IRB": ("DUO:0000021", "ethics approval is required"),
    "GS": ("DUO:0000022", "within a named region"),
    "MOR": ("DUO:0000024", "no publication before a named date"),
    "TS": ("DUO:0000025", "until a named date"),
    "US": ("DUO:0000026", "named users only"),
    "PS": ("DUO:0000027", "named project only"),
    "IS": ("DUO:0000028", "named institution only"),
    "RTN": ("DUO:0000029", "derived data go back to the source"),
    "GRU": ("DUO:0000042", "general research use"),
    "CC": ("DUO:0000043", "clinical care"),
    "NPOA": ("DUO:0000044", "no research on populations, origins or ancestry"),
    "NPU": ("DUO:0000045", "not-for-profit organisations"),
    "NCU": ("DUO:0000046", "non-commercial use"),
}
assert set(WORDS) == set(get_args(Duo))


def in_words(codes: tuple[Duo, ...]) -> str:
    """``HMB (health or medical research), …``."""
    return ", ".join(f"{code} ({WORDS[code][0]}, {WORDS[code][1]})" for code in codes)
