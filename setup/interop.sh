#!/usr/bin/env bash
# setup/interop.sh: makes .deps/interop, a Python environment with the packages beside which the tests of
# tests/interop check what Etude reads and writes. Nothing else uses it.
exec "$(dirname "$0")/python_env.sh" interop "for the interop tests (torch, transformers, ...)"
