"""Checkpoints of a trainer that knows only a factory: the plan says how to make the factory's network small.

Many trainers save `state_dict()` and build the network anew to resume or to deploy. `convslim.rebuild(factory(), plan)`
has the shapes of the pruned network, ready for `load_state_dict`; the plan is a JSON file beside the checkpoint.
"""

import tempfile
from pathlib import Path

import torch
from digits import accuracy, digits, network

import convslim


def main() -> None:
    torch.manual_seed(0)
    images, _, test_images, test_labels = digits()
    model, example_input = network(), images[:1]
    graph = convslim.trace(model, example_input)
    plan = convslim.allocate(graph, convslim.score(graph, model, "l1"), {"params": 0.5})
    small = convslim.remove(model, plan, example_input, graph=graph)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan.save(folder / "plan.json")
        torch.save(small.state_dict(), folder / "checkpoint.pt")

        # Another process, another day: no example input, no trace, no proof is needed to replay a plan.
        again = convslim.rebuild(network(), convslim.PruningPlan.load(folder / "plan.json"))
        again.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True))

    equal = accuracy(again, test_images, test_labels) == accuracy(small, test_images, test_labels)
    print(f"{plan}; {'equal' if equal else 'NOT EQUAL'} after the round trip")


if __name__ == "__main__":
    main()
