"""Cases of gradients for make.py: which of equal maxima takes it, what windows past the end divide by, what borders add up.

Each is PyTorch's derivative of an op's result times given numbers, `grad`: the case has the op's inputs as far as the
gradient depends on them, then `grad`.
"""

import torch
import torch.nn.functional as F

NAN, INF = float("nan"), float("inf")


def make(case, random, values):
    def gradient(op, name, x, function, attributes, of_x=True):
        x = x.clone().requires_grad_(True)
        output = function(x)
        grad = random(*output.shape)
        (made,) = torch.autograd.grad(output, x, grad)
        inputs = {"x": x.detach(), "grad": grad} if of_x else {"grad": grad}
        case(op, name, made, attributes, **inputs)

    def pools(name, x, kernel, stride=None, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
        stride = stride or kernel
        attributes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        function = lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
        gradient("max_pool2d_grad", name, x, function, attributes | {"dilation": dilation})

    ties = values(1, 3, 3, 2, 3, 1, 3, 3, 0, -0.0, 0, 0, -2, -1, -1, -2).reshape(1, 1, 4, 4)
    special = values(1, NAN, 9, NAN, 5, 2, NAN, 8, -INF, -INF, INF, 3, -INF, -INF, 4, INF).reshape(1, 1, 4, 4)
    for name, x in [("ties", ties), ("special", special)]:
        pools(name, x, (2, 2))
        pools(name + "_overlapping", x, (3, 3), (1, 1), (1, 1))
    pools("remainder_ceil", random(1, 1, 5, 7), (3, 2), ceil_mode=True)
    pools("dilated_padded_ceil", random(1, 1, 6, 5), (3, 2), (2, 1), (1, 1), (2, 3), ceil_mode=True)

    x = random(1, 1, 5, 6)
    for counted in [True, False]:
        kernel, stride, padding = (3, 3), (2, 2), (1, 1)
        attributes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": True, "count_include_pad": counted}
        function = lambda x: F.avg_pool2d(x, kernel, stride, padding, True, counted)
        name = "padded_ceil" + ("_counting_padding" if counted else "")
        gradient("avg_pool2d_grad", name, x, function, attributes, of_x=False)

    gradient("adaptive_max_pool2d_grad", "ties", ties, lambda x: F.adaptive_max_pool2d(x, (3, 2)), {})
    gradient("adaptive_avg_pool2d_grad", "uneven", random(1, 1, 4, 5), lambda x: F.adaptive_avg_pool2d(x, (3, 7)), {}, of_x=False)

    x = random(1, 1, 3, 4)
    for mode in ["constant", "reflect", "replicate"]:
        gradient("pad_grad", mode, x, lambda x: F.pad(x, (3, 1, 0, 2), mode=mode), {"sides": [[0, 2], [3, 1]], "mode": mode}, of_x=False)

    x = random(1, 1, 3, 4)
    gradient("upsample_nearest2d_grad", "uneven", x, lambda x: F.interpolate(x, (5, 3), mode="nearest"), {}, of_x=False)
    for corners in [False, True]:
        function = lambda x: F.interpolate(x, (5, 3), mode="bilinear", align_corners=corners)
        gradient("upsample_bilinear2d_grad", "corners" if corners else "centres", x, function, {"align_corners": corners}, of_x=False)

    options = {"size": 4, "alpha": 1.5, "beta": 0.75, "k": 1.0}
    function = lambda x: F.local_response_norm(x, 4, 1.5, 0.75, 1.0)
    gradient("local_response_norm_grad", "even_window", random(1, 5, 3), function, options)
