"""Command line: ``python -m benchmarks NAME [options]``."""

import sys

from benchmarks import accuracy, maps

COMMANDS = {"accuracy": accuracy, "maps": maps}


def main() -> int:
    """Run the named measurement."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m benchmarks {" + ",".join(COMMANDS) + "} [options]\n")
        for name, module in COMMANDS.items():
            print(f"  {name:10} {(module.__doc__ or '').splitlines()[0]}")
        return 2
    COMMANDS[sys.argv[1]].main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
