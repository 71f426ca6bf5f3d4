"""The one exception that the command line turns into a sentence instead of a traceback."""


class UserError(ValueError):
    """Something the user can mend: a wrong folder, mask, label, model or option."""

    def __init__(self, sentence: str) -> None:
        # A process that loads data hands its error on with its traceback around the sentence.
        super().__init__(sentence.rpartition("UserError: ")[2].strip())


def expect(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise a UserError about an option unless the condition holds."""
    if not condition:
        raise UserError(f"{name}: expected {expected}, got {value}")
