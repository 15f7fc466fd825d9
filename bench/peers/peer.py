"""One training step in plain PyTorch, timed on request: the other side of `etude bench`.

    python bench/peers/peer.py < lines of JSON

The first line is the task (see cli/bench_task.h for the names): net, weights and batches as safetensors files, number
format, threads, eager or compiled, and the optimizer's values. The answer is {"ready": ...} with the number of
parameters. After that each line {"steps": N} runs N steps on the next batches in turn and is answered with their
seconds, their losses and the memory they took. The end of the input ends the program.
"""

import json
import os
import struct
import sys
import time

import torch

from decoder import Decoder
from encoder import Encoder

NETS = {"decoder": Decoder, "encoder": Encoder}
TYPES = {"F32": torch.float32, "I64": torch.int64}


def read_safetensors(path):
    """Tensors by name: a length, a header in JSON, the bytes."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    return {
        name: torch.frombuffer(data, dtype=TYPES[entry["dtype"]], offset=entry["data_offsets"][0],
                               count=torch.Size(entry["shape"]).numel()).view(entry["shape"]).clone()
        for name, entry in header.items() if name != "__metadata__"
    }  # fmt: skip


def status_bytes(key):
    """VmRSS or VmHWM of this process."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key + ":"))


def forget_peak():
    """VmHWM counts from here on, where the kernel allows that."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def load_batches(path, make_inputs):
    """Tensors "0/ids_BT", "0/labels_BT", "1/ids_BT", ... as a list of what the net's forward takes."""
    batches = {}
    for name, value in read_safetensors(path).items():
        number, _, key = name.partition("/")
        batches.setdefault(int(number), {})[key] = value
    return [make_inputs(batches[i]) for i in sorted(batches)]


def make_optimizer(net, task):
    """As fast as PyTorch has it; `no_decay` names what weight decay leaves alone."""
    without = set(task["no_decay"])
    named = dict(net.named_parameters())
    unknown = without - named.keys()
    if unknown:
        raise SystemExit(f"the net has no parameters {sorted(unknown)}")
    groups = [
        {"params": [p for name, p in named.items() if name not in without], "weight_decay": task["weight_decay"]},
        {"params": [p for name, p in named.items() if name in without], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=task["lr"], betas=(task["beta1"], task["beta2"]), eps=task["eps"], fused=True)


class Training:
    def __init__(self, task):
        kind = NETS[task["net"]]
        net = kind(**task["options"])
        net.load_state_dict(read_safetensors(task["weights"]), strict=True)
        self.parameters = list(net.parameters())
        self.optimizer = make_optimizer(net, task)
        self.batches = load_batches(task["batches"], kind.inputs)
        self.loss = torch.compile(net) if task["compile"] else net
        self.low = task["format"] == "bf16"
        self.clip = task["clip"]
        self.step_number = 0

    def step(self):
        inputs = self.batches[self.step_number % len(self.batches)]
        self.step_number += 1
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            loss = self.loss(*inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return loss.detach()

    def steps(self, count):
        forget_peak()
        begun = time.perf_counter()
        losses = [self.step() for _ in range(count)]
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "losses": [float(loss) for loss in losses], "peak_bytes": status_bytes("VmHWM")}


def answer(what):
    print(json.dumps(what), flush=True)


def main():
    task = json.loads(sys.stdin.readline())
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    forget_peak()
    idle = status_bytes("VmRSS")
    training = Training(task)
    answer({"ready": True, "parameters": sum(p.numel() for p in training.parameters), "idle_bytes": idle,
            "version": torch.__version__, "threads": torch.get_num_threads(),
            "tcmalloc": "tcmalloc" in os.environ.get("LD_PRELOAD", "")})  # fmt: skip
    for line in sys.stdin:
        answer(training.steps(json.loads(line)["steps"]))


if __name__ == "__main__":
    main()
