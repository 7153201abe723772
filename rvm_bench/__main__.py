"""`python -m rvm_bench` is `rvm-bench`."""

from rvm_bench.cli import main

if __name__ == "__main__":
    main()
