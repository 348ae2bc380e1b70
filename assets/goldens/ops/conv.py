"""Cases of convolution and transposed convolution for make.py: which side padding, dilation and stride count on, and how
groups share channels."""

import torch.nn.functional as F


def pairs(options):
    """One number as PyTorch takes it for both axes."""
    return {key: [value] * 2 if isinstance(value, int) and key != "groups" else value for key, value in options.items()}


def make(case, random):
    def conv2d(name, shape, weight_shape, bias=False, **options):
        x, weight = random(*shape), random(*weight_shape)
        inputs = {"x": x, "weight": weight}
        if bias:
            inputs["bias"] = random(weight_shape[0])
        # PyTorch pads both ends alike; where they differ, zeros are put around the image first.
        before_after = options.pop("sides", None)
        padded = x if before_after is None else F.pad(x, before_after[1] + before_after[0])
        output = F.conv2d(padded, weight, inputs.get("bias"), **options)
        padding = options.pop("padding", 0)
        padding = padding if isinstance(padding, tuple) else (padding, padding)
        sides = before_after or [[n, n] for n in padding]
        attributes = {"stride": [1, 1], "dilation": [1, 1], "groups": 1} | pairs(options) | {"padding": sides}
        case("conv2d", name, output, attributes, **inputs)

    conv2d("plain", (1, 1, 3, 4), (1, 1, 2, 2))
    conv2d("bias", (2, 3, 5, 4), (4, 3, 3, 3), bias=True)
    conv2d("one_by_one", (2, 5, 3, 4), (3, 5, 1, 1), bias=True)
    conv2d("padded", (1, 2, 4, 5), (3, 2, 3, 3), bias=True, padding=1)
    conv2d("padded_by_axis", (1, 2, 4, 5), (3, 2, 3, 5), padding=(0, 2))
    conv2d("padded_by_side", (1, 2, 4, 5), (2, 2, 3, 3), bias=True, sides=[[0, 2], [1, 0]])
    conv2d("more_padding_than_kernel", (1, 1, 2, 3), (2, 1, 2, 2), padding=(3, 1))
    conv2d("strided", (1, 2, 7, 8), (2, 2, 3, 3), stride=2, padding=1)
    conv2d("strided_by_axis", (1, 2, 7, 8), (2, 2, 3, 2), stride=(3, 2))
    conv2d("stride_over_kernel", (1, 2, 8, 7), (2, 2, 2, 1), stride=(3, 4))
    conv2d("remainder", (1, 1, 7, 7), (1, 1, 3, 3), stride=3)
    conv2d("dilated", (1, 2, 8, 7), (2, 2, 3, 3), dilation=2, padding=2)
    conv2d("dilated_by_axis", (1, 2, 6, 9), (2, 2, 2, 3), bias=True, dilation=(3, 2), padding=(1, 2))
    conv2d("all_options", (2, 4, 9, 8), (6, 2, 3, 2), bias=True, stride=(2, 3), padding=(2, 1), dilation=(2, 1), groups=2)
    conv2d("groups", (2, 6, 4, 5), (9, 2, 3, 2), bias=True, groups=3)
    conv2d("depthwise", (1, 5, 6, 5), (5, 1, 3, 3), bias=True, padding=1, groups=5)
    conv2d("depthwise_twice", (2, 3, 5, 4), (6, 1, 3, 3), stride=2, padding=1, groups=3)
    conv2d("whole_image", (3, 4, 3, 5), (7, 4, 3, 5), bias=True)
    conv2d("one_row", (1, 3, 1, 9), (2, 3, 1, 4), padding=(0, 1), stride=(1, 2))

    def conv_transpose2d(name, shape, weight_shape, bias=False, **options):
        x, weight = random(*shape), random(*weight_shape)
        inputs = {"x": x, "weight": weight}
        if bias:
            inputs["bias"] = random(weight_shape[1] * options.get("groups", 1))
        output = F.conv_transpose2d(x, weight, inputs.get("bias"), **options)
        plain = {"stride": [1, 1], "padding": [0, 0], "output_padding": [0, 0], "dilation": [1, 1], "groups": 1}
        case("conv_transpose2d", name, output, plain | pairs(options), **inputs)

    conv_transpose2d("plain", (1, 1, 2, 3), (1, 1, 2, 2))
    conv_transpose2d("bias", (2, 3, 4, 3), (3, 4, 3, 3), bias=True)
    conv_transpose2d("one_by_one", (2, 5, 3, 4), (5, 3, 1, 1), bias=True)
    conv_transpose2d("padded", (1, 2, 4, 5), (2, 3, 3, 3), bias=True, padding=1)
    conv_transpose2d("padded_by_axis", (1, 2, 4, 5), (2, 3, 3, 5), padding=(0, 2))
    conv_transpose2d("doubling", (1, 3, 3, 4), (3, 2, 4, 4), bias=True, stride=2, padding=1)
    conv_transpose2d("strided", (1, 2, 3, 4), (2, 2, 3, 3), stride=2, padding=1)
    conv_transpose2d("strided_with_output_padding", (1, 2, 3, 4), (2, 2, 3, 3), stride=2, padding=1, output_padding=1)
    conv_transpose2d("strided_by_axis", (1, 2, 3, 4), (2, 2, 3, 2), bias=True, stride=(3, 2), output_padding=(2, 0))
    conv_transpose2d("stride_over_kernel", (1, 2, 3, 3), (2, 3, 2, 1), bias=True, stride=(3, 4), output_padding=(1, 3))
    conv_transpose2d("dilated", (1, 2, 4, 3), (2, 2, 3, 3), dilation=2)
    conv_transpose2d("dilated_and_strided", (1, 2, 4, 3), (2, 2, 3, 3), stride=2, dilation=3, padding=2)
    conv_transpose2d("stride_shares_a_factor", (1, 2, 3, 3), (2, 2, 3, 4), stride=(4, 6), dilation=(6, 4), padding=(1, 5))
    conv_transpose2d("output_padding_below_dilation", (1, 2, 3, 3), (2, 2, 2, 2), dilation=3, output_padding=2)
    conv_transpose2d("all_options", (2, 4, 4, 3), (4, 3, 3, 2), bias=True, stride=(2, 3), padding=(2, 1), output_padding=(1, 2), dilation=(2, 1), groups=2)
    conv_transpose2d("groups", (2, 6, 3, 4), (6, 3, 3, 2), bias=True, groups=3)
    conv_transpose2d("depthwise", (1, 5, 4, 3), (5, 1, 4, 4), stride=2, padding=1, groups=5)
    conv_transpose2d("one_pixel", (3, 4, 1, 1), (4, 5, 3, 4), bias=True)

    for name, stride, padding, dilation, groups in [("plain", 1, 0, 1, 1), ("all_options", 2, 3, 2, 2)]:
        x, weight, bias = random(2, 4, 11), random(6, 4 // groups, 3), random(6)
        output = F.conv1d(x, weight, bias, stride, padding, dilation, groups)
        attributes = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        case("conv1d", name, output, attributes, x=x, weight=weight, bias=bias)
        x, weight, bias = random(2, 4, 5), random(4, 6 // groups, 3), random(6)
        output = F.conv_transpose1d(x, weight, bias, stride, padding, stride - 1, groups, dilation)
        attributes |= {"output_padding": stride - 1}
        case("conv_transpose1d", name, output, attributes, x=x, weight=weight, bias=bias)
