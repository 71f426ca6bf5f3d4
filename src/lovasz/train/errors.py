"""The one exception that the command line turns into a sentence instead of a traceback."""


class UserError(ValueError):
    """Something the user can mend: a wrong folder, mask, label, model or option."""
