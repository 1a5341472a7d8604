"""A Lightning module: train, cut the network that it holds, train on; its checkpoint is read into a rebuilt network."""

import tempfile
from pathlib import Path

import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from digits import accuracy, digits, network
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import convslim


class Classifier(lightning.LightningModule):
    """Yours; the network is an attribute, so that it can be replaced."""

    def __init__(self, network: nn.Module, lr: float) -> None:
        super().__init__()
        self.network, self.lr = network, lr

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def trainer(epochs: int) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, enable_checkpointing=False, **quiet)


def main() -> None:
    lightning.seed_everything(0)
    images, labels, test_images, test_labels = digits()
    batches = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    module = Classifier(network(), lr=0.05)
    trainer(4).fit(module, batches)
    print(f"trained     {accuracy(module.network, test_images, test_labels):.1%}")

    example_input = images[:1]
    graph = convslim.trace(module.network, example_input)
    plan = convslim.allocate(graph, convslim.score(graph, module.network, "l1"), {"macs": 0.4})
    # A new module, so that the next fit makes its optimizer for the new parameters.
    small = Classifier(convslim.remove(module.network, plan, example_input, graph=graph), lr=0.02)
    last = trainer(3)
    last.fit(small, batches)
    print(f"trained on  {accuracy(small.network, test_images, test_labels):.1%}, {plan}")

    with tempfile.TemporaryDirectory() as folder:
        last.save_checkpoint(Path(folder) / "small.ckpt", weights_only=True)
        again = Classifier(convslim.rebuild(network(), plan), lr=0.02)
        again.load_state_dict(torch.load(Path(folder) / "small.ckpt", weights_only=True)["state_dict"])
    same = torch.equal(again.eval().network(example_input), small.eval().network(example_input))
    print(f"checkpoint  {'the same outputs' if same else 'OTHER OUTPUTS'}")


if __name__ == "__main__":
    main()
