"""Gradients of single ops and three optimisers by PyTorch's autograd (2.13), as frozen into
tests/tensor/test_rules.c and tests/train/test_optim.c. Run: python tests/reference/rules.py"""
import torch
import torch.nn.functional as F

x0 = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
g = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
ops = {
    "rms_norm": lambda x: x / torch.sqrt((x * x).mean() + 1e-5),
    "norm": lambda x: F.layer_norm(x, (3,), eps=1e-5),
    "softmax(x/2)": lambda x: torch.softmax(0.5 * x, 0),
    "soft-cap 2": lambda x: 2 * torch.tanh(x / 2),
    "gelu_erf": F.gelu,
    "silu": F.silu,
}
for name, f in ops.items():
    x = x0.clone().requires_grad_()
    f(x).backward(g)
    print(f"{name:14s}", " ".join(f"{v:.9f}" for v in x.grad.tolist()))

w0 = [[1, -2, 0.5], [0, 1, -1]]
grads = [[[0.5, -1, 0], [0.25, 0, 2]], [[0.1, 0.4, -0.3], [-0.5, 1, 0.2]], [[-0.2, 0, 0.6], [0.3, -0.1, -1]]]
makers = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1),
}
for name, make in makers.items():
    w = torch.tensor(w0, dtype=torch.float64, requires_grad=True)
    opt = make([w])
    for t, grad in enumerate(grads):
        w.grad = torch.tensor(grad, dtype=torch.float64)
        opt.step()
        print(f"{name} {t + 1}", " ".join(f"{v:.9f}" for v in w.detach().flatten().tolist()))

# Ops of images and attention: inputs sin(1 + i + 10 k) of input k in memory order, cotangents cos(i); the
# gradient of each input as its first four elements and the sum of absolute values.
def filled(shape, k):
    n = torch.Size(shape).numel()
    return torch.sin(1 + torch.arange(n, dtype=torch.float64) + 10 * k).reshape(shape).requires_grad_()


def gradients(name, inputs, y):
    y.backward(torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape))
    for k, x in enumerate(inputs):
        flat = x.grad.flatten()
        print(f"{name} {k}:", ", ".join(f"{v:.7f}" for v in [*flat[:4].tolist(), flat.abs().sum().item()]))


w, x = filled((3, 2, 2, 2, 3), 0), filled((2, 2, 4, 4, 5), 1)
y = F.conv3d(x, w, stride=(2, 1, 2), padding=(1, 1, 1), dilation=(2, 1, 1))
gradients("conv_3d", [w, x], y.permute(1, 0, 2, 3, 4))
for name, size, more in [("bilinear", (5, 7), {}), ("aligned", (5, 7), {"align_corners": True}),
                         ("antialiased", (5, 3), {"antialias": True})]:
    x = filled((1, 2, 3, 8 if name == "antialiased" else 4), 0)
    gradients(name, [x], F.interpolate(x, size, mode="bilinear", **more))
x, mask, sink = filled((1, 3, 3, 4), 0), filled((3, 4), 1), filled((3,), 2)
slopes = torch.tensor([2.0 ** -2, 2.0 ** -4, 2.0 ** -1], dtype=torch.float64)  # max_bias 4: m0 = 2^-2, m1 = 2^-1
z = 0.8 * x + slopes[None, :, None, None] * mask
z = torch.cat([z, sink[None, :, None, None].expand(1, 3, 3, 1)], -1)
gradients("sinks", [x, mask, sink], torch.softmax(z, -1)[..., :4])
a, b = filled((1, 2, 5, 4), 0), filled((2, 4, 5, 3), 1)
each = a.repeat_interleave(2, 1)
gradients("out_prod", [a, b], torch.einsum("bhkn,bhkm->bhmn", each.expand(2, 4, 5, 4), b))
