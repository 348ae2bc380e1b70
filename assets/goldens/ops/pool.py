"""Cases of pooling for make.py: what a window past the end counts, who wins among equals and NaN."""

import torch
import torch.nn.functional as F

NAN, INF = float("nan"), float("inf")


def make(case, random, values):
    def pools(name, x, kernel, stride=None, padding=(0, 0), dilation=None, ceil_mode=False):
        stride = stride or kernel
        attributes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        if dilation is None:
            for counted in [True, False]:
                output = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, counted)
                suffix = "_counting_padding" if counted else ""
                case("avg_pool2d", name + suffix, output, attributes | {"count_include_pad": counted}, x=x)
        attributes |= {"dilation": dilation or (1, 1)}
        options = (kernel, stride, padding, dilation or 1, ceil_mode)
        output, places = F.max_pool2d(x, *options, return_indices=True)
        case("max_pool2d", name, output, attributes, x=x)
        case("max_pool2d_indices", name, places, attributes, x=x)

    pools("plain", random(2, 2, 6, 8), (2, 2))
    pools("remainder", random(1, 2, 7, 9), (3, 2))
    pools("remainder_ceil", random(1, 2, 7, 9), (3, 2), ceil_mode=True)
    pools("overlapping", random(1, 2, 7, 9), (3, 3), (2, 2))
    pools("padded", random(1, 2, 6, 7), (3, 3), (2, 2), (1, 1))
    pools("padded_ceil", random(1, 2, 6, 8), (3, 3), (2, 2), (1, 1), ceil_mode=True)
    pools("padded_by_axis_ceil", random(1, 1, 7, 10), (4, 5), (3, 4), (2, 1), ceil_mode=True)
    pools("next_window_would_start_in_the_padding", random(1, 1, 4, 5), (2, 2), (3, 3), (1, 1), ceil_mode=True)
    pools("stride_over_kernel_ceil", random(1, 1, 8, 9), (2, 2), (3, 4), ceil_mode=True)
    pools("same_size", random(1, 2, 5, 6), (3, 3), (1, 1), (1, 1))
    pools("dilated", random(1, 2, 8, 9), (2, 3), (1, 1), dilation=(3, 2))
    pools("dilated_padded_ceil", random(1, 2, 9, 8), (3, 2), (2, 3), (1, 1), (2, 3), ceil_mode=True)
    pools("whole_plane", random(2, 3, 5, 4), (5, 4))
    small = values(3, -1, 2, 5, -4, 0.5).reshape(1, 1, 2, 3)
    pools("larger_than_the_plane_ceil", small, (3, 5), (2, 3), ceil_mode=True)
    pools("larger_than_the_padded_plane_ceil", small, (5, 6), (2, 4), (1, 1), ceil_mode=True)

    ties = values(1, 3, 3, 2, 3, 1, 3, 3, 0, -0.0, 0, 0, -2, -1, -1, -2).reshape(1, 1, 4, 4)
    special = values(1, NAN, 9, NAN, 5, 2, NAN, 8, -INF, -INF, INF, 3, -INF, -INF, 4, INF).reshape(1, 1, 4, 4)
    for name, x in [("ties", ties), ("special", special)]:
        pools(name, x, (2, 2))
        pools(name + "_padded", x, (3, 3), (1, 1), (1, 1))
        pools(name + "_whole", x, (4, 4))

    for name, x, output in [
        ("same", random(1, 2, 4, 5), (4, 5)),
        ("even", random(2, 2, 6, 9), (3, 3)),
        ("uneven", random(1, 2, 7, 10), (3, 4)),
        ("larger", random(1, 2, 3, 4), (5, 7)),
        ("one", random(2, 3, 5, 6), (1, 1)),
        ("special", special, (3, 2)),
    ]:
        attributes = {"output": output}
        case("adaptive_avg_pool2d", name, F.adaptive_avg_pool2d(x, output), attributes, x=x)
        case("adaptive_max_pool2d", name, F.adaptive_max_pool2d(x, output), attributes, x=x)
