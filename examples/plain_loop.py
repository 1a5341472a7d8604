"""Train, cut, and train on, in a loop of your own; then save the smaller network and load it again."""

import tempfile

import torch
import torch.nn.functional as F
from digits import accuracy, digits, network
from torch import Tensor, nn

import convslim


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, lr: float) -> None:
    """Your own loop."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main() -> None:
    torch.manual_seed(0)
    images, labels, test_images, test_labels = digits()
    model = network()
    train(model, images, labels, epochs=6, lr=0.05)
    print(f"trained     {accuracy(model, test_images, test_labels):.1%}")

    example_input = images[:1]
    graph = convslim.trace(model, example_input)
    scores = convslim.score(graph, model, "l1")
    plan = convslim.allocate(graph, scores, {"macs": 0.4})
    small = convslim.remove(model, plan, example_input, graph=graph)  # proven before it is returned
    print(f"cut         {accuracy(small, test_images, test_labels):.1%}")

    # The parameters are new ones, so that the optimizer is new, too.
    train(small, images, labels, epochs=4, lr=0.02)
    before, after = convslim.cost(model, example_input), convslim.cost(small, example_input)
    print(f"trained on  {accuracy(small, test_images, test_labels):.1%} at {after.macs / before.macs:.0%} of the MACs")

    with tempfile.TemporaryDirectory() as folder:
        convslim.save(small, f"{folder}/small", plan=plan)
        again = convslim.load(f"{folder}/small", network)
    same = torch.equal(again.eval()(example_input), small.eval()(example_input))
    print(f"loaded      {'the same outputs' if same else 'OTHER OUTPUTS'}")


if __name__ == "__main__":
    main()
