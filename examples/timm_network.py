"""Cut a network of timm. It stays timm's own class: forward_features, train() and state_dict() are as they were."""

import torch

import convslim


def main() -> None:
    torch.manual_seed(0)
    model = convslim.models.create("timm:resnet18", num_classes=10).eval()  # as timm.create_model does
    example_input = torch.randn(1, 3, 64, 64)
    graph = convslim.trace(model, example_input)
    plan = convslim.allocate(graph, convslim.score(graph, model, "l1"), {"macs": 0.5})
    small = convslim.remove(model, plan, example_input, graph=graph)
    again = convslim.rebuild(convslim.models.create("timm:resnet18", num_classes=10), plan)
    again.load_state_dict(small.state_dict())
    before, after = convslim.cost(model, example_input), convslim.cost(small, example_input)
    print(f"{type(small).__name__}: {before.macs:,} → {after.macs:,} MACs")
    print(f"{before.params:,} → {after.params:,} parameters")
    print(f"features {tuple(small.forward_features(example_input).shape)}")


if __name__ == "__main__":
    main()
