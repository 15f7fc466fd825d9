#!/usr/bin/env bash
# setup/bench.sh: makes .deps/bench, a Python environment with the PyTorch of setup/bench.txt, beside which
# `etude bench` measures. Nothing else uses it.
exec "$(dirname "$0")/python_env.sh" bench "for the bench (torch with its libraries)" '
import torch

twice = torch.compile(lambda x: x + x)
assert torch.equal(twice(torch.ones(3)), torch.full((3,), 2.0))
'
