"""The one error of this package."""


class SaveError(ValueError):
    """Nothing was written. The message is one sentence: what was found, and how to fix it."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; libraries add pages to it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
