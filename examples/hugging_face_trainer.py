"""The Trainer of Hugging Face: train, cut the network inside the model, train on; the saved model is read again."""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from digits import accuracy, digits, network
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import convslim


class Classifier(nn.Module):
    """A model as the Trainer wants it: it takes labels and returns a loss. The network is an attribute."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.network(images)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


def train(model: Classifier, images: Tensor, labels: Tensor, folder: str, epochs: int, lr: float) -> Trainer:
    options = TrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=64,
        learning_rate=lr,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    rows = [{"images": image, "labels": label} for image, label in zip(images, labels, strict=True)]
    trainer = Trainer(model=model, args=options, train_dataset=rows)
    trainer.train()
    return trainer


def main() -> None:
    torch.manual_seed(0)
    images, labels, test_images, test_labels = digits()
    model, example_input = Classifier(network()), images[:1]
    with tempfile.TemporaryDirectory() as folder:
        train(model, images, labels, folder, epochs=4, lr=0.01)
        print(f"trained     {accuracy(model.network, test_images, test_labels):.1%}")

        graph = convslim.trace(model.network, example_input)
        plan = convslim.allocate(graph, convslim.score(graph, model.network, "l1"), {"macs": 0.4})
        # A new model for a new Trainer, whose optimizer is made for the new parameters.
        small = Classifier(convslim.remove(model.network, plan, example_input, graph=graph))
        trainer = train(small, images, labels, folder, epochs=3, lr=0.005)
        print(f"trained on  {accuracy(small.network, test_images, test_labels):.1%}, {plan}")

        trainer.save_model(folder)
        again = Classifier(convslim.rebuild(network(), plan))
        again.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    same = torch.equal(again.eval().network(example_input), small.eval().network(example_input))
    print(f"saved model {'the same outputs' if same else 'OTHER OUTPUTS'}")


if __name__ == "__main__":
    main()
