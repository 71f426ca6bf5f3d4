"""What a Lovász loss is: options, set functions, bins and the extension."""
