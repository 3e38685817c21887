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
