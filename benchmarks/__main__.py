"""Command line: ``python -m benchmarks NAME [options]``."""

import importlib
import sys

# Imported when asked for: each has needs of its own.
COMMANDS = {
    "accuracy": "loss and gradient against float64",
    "maps": "maps from errors to bins",
    "speed": "time and memory against F.cross_entropy, on published workloads",
    "soft-accuracy": "loss and gradient of soft labels against float64",
    "soft": "time of soft labels, against hard ones",
    "soft-readings": "what losses of soft labels are least at, an example",
    "soft-theorem": "the theorem about soft labels, on a million random cases",
    "multilabel": "time of the multilabel losses against F.binary_cross_entropy_with_logits",
    "clouds": "time and memory of a loss of each cloud of points, against one cloud",
    "upsampling": "time and memory of losses of upsampled logits, against F.interpolate and torch",
    "deep-supervision": "time of a loss of several scales, against the largest alone",
    "regions": "time and memory of losses by sums, against F.cross_entropy, nnU-Net and MONAI",
    "soft-study": "training with soft labels: smoothed, and of a teacher",
    "compat": "time of compat and of losses of probabilities against the published algorithm",
    "jax": "time of the losses for JAX against optax's cross-entropy and a sort, on the CPU",
    "gpu": "time and memory on a CUDA or ROCm device",
    "gpu-session": "tests, sanitizers, times and tuning on a device, one after the other",
    "gpu-code": "instructions of the GPU kernels, without a device",
    "gpu-traffic": "what the GPU kernels ask of the memories, without a device",
    "gpu-chunks": "losses of upsampled logits by the size of a chunk, on a device",
    "gpu-tune": "what the constants of the GPU kernels should be",
    "scaling": "time against pixels and classes",
    "ranks": "the loss of the global batch of several processes against that of their own",
    "window": "windowed Lovász-Softmax at small batch sizes, a training study",
    "momenta": "the window study at several momenta, one table",
    "inference": "memory and time of labels of an image of 192 million pixels",
    "decisions": "what deciding for the IoU costs, against argmax",
    "study": "losses and decisions on several data sets, with equal tuning: a training study",
    "gradients": "gradients of the two losses of a sum, with and without a window",
    "tables": "the tables and plots of the docs, from the results",
    "picture": "the picture of the README, from a finished make demo",
}


def main() -> int:
    """Run the named measurement."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m benchmarks {" + ",".join(COMMANDS) + "} [options]\n")
        for name, text in COMMANDS.items():
            print(f"  {name:16} {text}")
        return 2
    importlib.import_module(f"benchmarks.{sys.argv[1].replace('-', '_')}").main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
