"""Rank channels your own way: scores are arrays of numbers by group, higher = stays longer."""

import torch
from digits import digits, network

import convslim
from convslim.criteria.scores import Scores


def main() -> None:
    torch.manual_seed(0)
    images, *_ = digits()
    model = network()
    graph = convslim.trace(model, images[:1])
    weights = dict(model.named_parameters())
    values = {}
    for group in graph.prunable:
        made = next(axis for axis in group.axes if axis.role == "out")  # the filters that make the channels
        filters = weights[made.tensor].detach().movedim(made.dim, 0).flatten(1)
        values[group.name] = filters.std(1).double().numpy()  # here: how much a filter's weights vary
    scores = Scores("spread of the weights", graph.structure, values)
    plan = convslim.allocate(graph, scores, {"macs": 0.5})
    small = convslim.remove(model, plan, images[:1], graph=graph)
    widths = {name: len(kept) for name, kept in plan.kept.items()}
    print(f"{sum(widths.values())} of {sum(plan.channels.values())} channels stay: {widths}")
    print(f"outputs {tuple(small(images[:2]).shape)}")


if __name__ == "__main__":
    main()
