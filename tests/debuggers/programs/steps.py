"""The program under test: a function to stop in, lines to step over, a text too long for any buffer."""

import hashlib
import sys


def payload(length: int) -> str:
    """`length` characters, no two parts of which are alike."""
    blocks = (hashlib.sha256(str(index).encode()).hexdigest() for index in range(length // 64 + 1))
    return "".join(blocks)[:length]


def double(n: int) -> int:
    result = n * 2  # BREAK: step
    result += 1
    result += 1
    result += 1
    result += 1
    result += 1
    result += 1
    result += 1
    result -= 7
    return result


def main() -> int:
    print(f"answer={double(21)}", flush=True)
    return int(sys.argv[1]) if len(sys.argv) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
