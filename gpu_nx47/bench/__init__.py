"""The one harness of speed: kernels, stages and the whole run, on each backend, beside peers (`nx47 bench`).

It reads clocks and decides no bit. `harness` tells the order; `cases` holds the calls that are timed, which the tests
call too; the peers live in the repository's `bench/peers`, because no run needs their libraries.
"""
