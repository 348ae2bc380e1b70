"""Cases of padding, upsampling and shuffled channels for make.py: borders, corners, and which element is the nearest."""

import torch
import torch.nn.functional as F

NAN, INF = float("nan"), float("inf")


def make(case, random, values):
    special = values(1, NAN, 3, -INF, 5, 6, -0.0, 8, 9, 10, INF, 12).reshape(1, 1, 3, 4)

    def pad(name, x, sides, value=0.0):
        # PyTorch lists the last dimension first.
        flat = tuple(n for side in reversed(sides) for n in side)
        attributes = {"sides": sides}
        output = F.pad(x, flat, value=value)
        case("pad", name + "_constant", output, attributes | {"mode": "constant", "value": value}, x=x)
        for mode in ["reflect", "replicate"] if x.dim() > len(sides) else []:
            case("pad", f"{name}_{mode}", F.pad(x, flat, mode=mode), attributes | {"mode": mode}, x=x)

    pad("line", random(1, 2, 5), [[3, 4]], 0.5)
    pad("image", random(1, 2, 4, 5), [[1, 2], [3, 4]], -1.25)
    pad("one_side", random(2, 2, 3, 4), [[0, 2], [3, 0]])
    pad("volume", random(1, 2, 2, 3, 4), [[1, 0], [2, 1], [0, 3]], 2.0)
    pad("special", special, [[1, 1], [2, 2]], 7.5)
    pad("every_dimension", random(2, 3, 2), [[1, 0], [0, 2], [1, 1]], 1.0)

    def upsample(name, x, output):
        case("upsample_nearest2d", name, F.interpolate(x, output, mode="nearest"), {"output": output}, x=x)
        for corners in [False, True]:
            made = F.interpolate(x, output, mode="bilinear", align_corners=corners)
            attributes = {"output": output, "align_corners": corners}
            case("upsample_bilinear2d", name + ("_corners" if corners else ""), made, attributes, x=x)

    upsample("twice", random(1, 2, 3, 4), (6, 8))
    upsample("uneven", random(2, 1, 3, 4), (5, 9))
    upsample("smaller", random(1, 2, 7, 9), (3, 4))
    upsample("one_axis", random(1, 2, 4, 5), (4, 8))
    upsample("same", special, (3, 4))
    upsample("special", special, (5, 7))
    upsample("from_one", random(1, 2, 1, 1), (3, 4))
    upsample("to_one", random(1, 2, 4, 5), (1, 1))
    # PyTorch rounds the ratio to single precision: places 41 and 82 of 123 are whole thirds, but get the elements before.
    for input, output in [(3, 123), (10, 410)]:
        x = random(1, 1, 1, input)
        made = F.interpolate(x, (1, output), mode="nearest")
        assert not torch.equal(made[0, 0, 0], x[0, 0, 0, torch.arange(output) * input // output])
        case("upsample_nearest2d", f"rounded_{input}_to_{output}", made, {"output": (1, output)}, x=x)

    for groups in [1, 2, 3, 6]:
        x = random(2, 6, 2, 3)
        case("channel_shuffle", f"{groups}_groups", F.channel_shuffle(x, groups), {"groups": groups}, x=x)
