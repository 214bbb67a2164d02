"""Names in error messages."""


def few(names: list[str]) -> str:
    """At most four of the names, and how many more there are."""
    if not names:
        return "none"
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
