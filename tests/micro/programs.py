"""Ways to write a program: inputs, outputs, sharing, recursion, custom operations, Python in between."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .case import Case, Micro, conv_norm, head, image


@torch.library.custom_op("convslim_micro::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    """Multiply every channel with its mirror image; the engine cannot know that."""
    return x * x.flip(1)


class Swish(torch.autograd.Function):
    """Element-wise function with its own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return gradients[0] * gate * (1 + x * (1 - gate))


def custom_op(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(mystery(net.a(x)).relu()).relu())


def custom_function(net: Any, x: Tensor) -> Tensor:
    return net.head(Swish.apply(net.a(x)))


def numpy_detour(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(torch.from_numpy(2 * x.detach().numpy()))


def recurrent(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu().flatten(2).transpose(1, 2)
    y, _ = net.cell(x)
    return net.linear(y)


def shared_same_branch(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    for _ in range(2):
        x = net.b(x).relu()
    return net.head(x)


def recursive(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    for norm in net.norms:
        x = x + norm(net.b(x)).relu()
    return net.head(x)


def shared_two_branches(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    return net.head(torch.cat([net.c(a), net.c(F.avg_pool2d(b, 3, 1, 1))], 1).relu())


def siamese(net: Any, left: Tensor, right: Tensor) -> Tensor:
    a, b = (net.b(net.a(x).relu()).relu() for x in (left, right))
    return net.head((a - b).abs())


def alias(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(net.b_again(net.a(x).relu())).relu())


def two_inputs(net: Any, x: Tensor, z: Tensor) -> Tensor:
    return net.head((net.a(x) + net.b(z)).relu())


def keyword_inputs(net: Any, *, picture: Tensor, depth: Tensor) -> dict[str, Any]:
    a, b = net.a(picture).relu(), net.b(depth).relu()
    return {"out": net.head(torch.cat([a, b], 1)), "nested": (net.side(b), {"size": picture.shape})}


def packed_input(net: Any, batch: dict[str, Any]) -> Tensor:
    return net.head(net.a(batch["views"][0]).relu() + net.b(batch["views"][1]).relu())


def nested_output(net: Any, x: Tensor) -> tuple[Any, ...]:
    a = net.a(x).relu()
    b = net.b(a).relu()
    return net.head(b), [a, {"none": None}]


def part_output(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = net.a(x).relu()
    return net.head(x), net.side(x).softmax(1)


def aux_in_training(net: Any, x: Tensor) -> Any:
    x = net.a(x).relu()
    y = net.head(net.b(x).relu())
    return (y, net.aux(x)) if net.training else y


def stochastic_depth(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    keep = torch.rand(x.size(0), 1, 1, 1) > 0.5 if net.training else 1.0
    return net.head(x + net.b(F.dropout(x, 0.2, net.training)) * keep)


def unused_output(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    net.side(x)
    return net.head(x)


def write_slices(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    out = a.new_zeros(a.size(0), a.size(1) + b.size(1), *a.shape[2:])
    out[:, : a.size(1)] = a
    out[:, a.size(1) :] = b
    return net.head(out)


def write_slices_fixed(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    out = torch.zeros(a.size(0), 24, *a.shape[2:])
    out[:, :16] = a
    out[:, 16:] = b
    return net.head(out)


def copy_in_space(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x[:, :, 0] = 0.5
    x[:, :, :, 1:3].add_(1.0)
    return net.head(x)


def casts(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).double().clone().contiguous(memory_format=torch.channels_last)
    return net.head((x.abs() ** 1.5).float().detach())


def checkpointed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(checkpoint(lambda y: net.b(y).relu(), x, use_reentrant=False))


def loop_over_batch(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return torch.stack([net.head(one[None]).squeeze(0) for one in x])


def containers(net: Any, x: Tensor) -> Tensor:
    x = net.parts["a"](x).relu()
    return sum(layer(x) for layer in net.heads)


def no_grad_part(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.a(x).relu()
    return net.head(net.b(x).relu())


def patches(net: Any, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    x = net.up(x.reshape(batch, height * width // 4, -1)).relu()
    return net.linear(x.mean(1))


def _pair(run: Any, width: int = 16, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(16, width), head=head(width), **parts)


def _parallel(run: Any, outputs: int, after: int, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(3, outputs), head=head(after), **parts)


def alone(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu())


def _alone(run: Any = alone, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), head=head(16), **parts)


def aliased() -> nn.Module:
    net = _pair(alias)
    net.b_again = net.b
    return net


def two_images(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    return image(3)(batch, seed), image(3)(batch, seed + 1000)


def keywords(batch: int, seed: int) -> dict[str, Tensor]:
    return {"picture": image(3)(batch, seed), "depth": image(1)(batch, seed + 1000)}


def packed(batch: int, seed: int) -> tuple[dict[str, Any]]:
    return ({"views": list(two_images(batch, seed)), "name": "pair"},)


CASES = (
    Case(
        "custom_op",
        lambda: _pair(custom_op, 12),
        prunes=(("b.conv", 12),),
        pinned={"a.conv": "mystery"},
    ),
    Case(
        "custom_function",
        lambda: _alone(custom_function),
        prunes=(("a.conv", 16),),
    ),
    Case("numpy_detour", lambda: _alone(numpy_detour), pinned={"a.conv": ""}),
    Case(
        "recurrent",
        lambda: Micro(recurrent, a=conv_norm(3, 8), cell=nn.LSTM(8, 6, batch_first=True), linear=nn.Linear(6, 5)),
        pinned={"a.conv": "lstm|rnn"},
    ),
    Case("shared_same_branch", lambda: _pair(shared_same_branch), prunes=(("a.conv b.conv", 16),)),
    Case(
        "recursive",
        lambda: Micro(
            recursive,
            a=conv_norm(3, 16),
            b=nn.Conv2d(16, 16, 3, padding=1),
            norms=nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(16)]),
            head=head(16),
        ),
        prunes=(("a.conv b", 16),),
    ),
    Case(
        "shared_two_branches",
        lambda: _parallel(shared_two_branches, 16, 24, c=conv_norm(16, 12)),
        prunes=(("a.conv b.conv", 16), ("c.conv", 12)),
    ),
    Case(
        "siamese",
        lambda: _pair(siamese, 12),
        prunes=(("a.conv", 16), ("b.conv", 12)),
        example=two_images,
    ),
    Case("alias", aliased, prunes=(("a.conv b.conv", 16),)),
    Case("two_inputs", lambda: _parallel(two_inputs, 16, 16), (("a.conv b.conv", 16),), {}, two_images),
    Case(
        "keyword_inputs",
        lambda: Micro(keyword_inputs, a=conv_norm(3, 16), b=conv_norm(1, 8), head=head(24), side=nn.Conv2d(8, 2, 1)),
        prunes=(("a.conv", 16), ("b.conv", 8)),
        pinned={"head": "output", "side": "output"},
        example=keywords,
    ),
    Case("packed_input", lambda: _parallel(packed_input, 16, 16), (("a.conv b.conv", 16),), {}, packed),
    Case(
        "nested_output",
        lambda: _pair(nested_output, 12),
        prunes=(("b.conv", 12),),
        pinned={"a.conv": "output", "head": "output"},
    ),
    Case(
        "softmax_output",
        lambda: Micro(part_output, a=conv_norm(3, 16), head=head(16), side=nn.Conv2d(16, 5, 1)),
        prunes=(("a.conv", 16),),
        pinned={"side": "softmax|output"},
    ),
    Case(
        "aux_in_training",
        lambda: _pair(aux_in_training, 12, aux=nn.Conv2d(16, 4, 1)),
        prunes=(("a.conv", 16), ("b.conv", 12)),
    ),
    Case("stochastic_depth", lambda: _pair(stochastic_depth), prunes=(("a.conv b.conv", 16),)),
    Case(
        "unused_output",
        lambda: Micro(unused_output, a=conv_norm(3, 16), side=conv_norm(16, 8), head=head(16)),
        prunes=(("a.conv", 16), ("side.conv", 8)),
    ),
    Case("unused_module", lambda: _alone(never=conv_norm(16, 8)), prunes=(("a.conv", 16),)),
    Case(
        "write_slices",
        lambda: _parallel(write_slices, 8, 24),
        pinned={"a.conv": "slice|in place", "b.conv": "written|in place"},
    ),
    Case(
        "write_slices_fixed",
        lambda: _parallel(write_slices_fixed, 8, 24),
        pinned={"a.conv": "slice|in place", "b.conv": "written|in place"},
    ),
    Case(
        "copy_in_space",
        lambda: _alone(copy_in_space),
        pinned={"a.conv": "in place"},
    ),
    Case("casts", lambda: _alone(casts), prunes=(("a.conv", 16),)),
    Case("checkpointed", lambda: _pair(checkpointed, 12), prunes=(("a.conv", 16), ("b.conv", 12))),
    Case(
        "loop_over_batch",
        lambda: _alone(loop_over_batch),
        prunes=(("a.conv", 16),),
    ),
    Case(
        "containers",
        lambda: Micro(
            containers,
            parts=nn.ModuleDict({"a": conv_norm(3, 16)}),
            heads=nn.ModuleList([head(16), head(16)]),
        ),
        prunes=(("parts.a.conv", 16),),
        pinned={"heads.0": "output", "heads.1": "output"},
    ),
    Case("no_grad_part", lambda: _pair(no_grad_part, 12), prunes=(("a.conv", 16), ("b.conv", 12))),
    Case(
        "patches",
        lambda: Micro(patches, up=nn.Linear(12, 20), linear=nn.Linear(20, 5)),
        prunes=(("up", 20),),
    ),
)
