"""Goldens of normalisation and of activations with options; make.py runs it.

Options are exact in f32 wherever a rounding of them would show.
"""

import torch
import torch.nn.functional as F

NAN, INF = float("nan"), float("inf")


def make(case, random, values):
    batch_norm(case, random)
    group_norm(case, random)
    layer_norm(case, random)
    local_response_norm(case, random)
    activations(case, random, values)
    log_softmax(case, random, values)


def batch_norm(case, random):
    for name, shape, eps in [
        ("rank2", (4, 3), 1e-5),
        ("rank3", (2, 3, 5), 1e-3),
        ("rank4", (2, 4, 3, 5), 1e-5),
        ("rank5", (2, 3, 2, 3, 2), 0.5),
    ]:
        x, mean, weight, bias = random(*shape), random(shape[1]), random(shape[1]), random(shape[1])
        variance = random(shape[1], low=0.25, high=4.0)
        output = F.batch_norm(x, mean, variance, weight, bias, False, 0.1, eps)
        case("batch_norm", name, output, {"eps": eps}, x=x, mean=mean, variance=variance, weight=weight, bias=bias)
    x, mean, variance = random(2, 3, 4, 4), random(3), random(3, low=0.25, high=4.0)
    output = F.batch_norm(x, mean, variance, None, None, False, 0.1, 1e-5)
    case("batch_norm", "not_affine", output, {"eps": 1e-5}, x=x, mean=mean, variance=variance)
    # Of a channel that was always 0 in training the epsilon alone is left.
    variance[1] = 0.0
    mean[1] = 0.0
    weight, bias = random(3), random(3)
    output = F.batch_norm(x, mean, variance, weight, bias, False, 0.1, 2.0**-10)
    case("batch_norm", "no_variance", output, {"eps": 2.0**-10}, x=x, mean=mean, variance=variance, weight=weight, bias=bias)


def group_norm(case, random):
    for name, shape, groups, eps in [
        ("rank2", (3, 6), 2, 1e-5),
        ("rank3", (2, 6, 5), 3, 1e-5),
        ("rank4", (2, 4, 3, 5), 2, 1e-3),
        ("rank5", (1, 4, 2, 3, 2), 4, 1e-5),
        ("one_group", (2, 4, 3), 1, 1e-5),
    ]:
        x, weight, bias = random(*shape), random(shape[1]), random(shape[1])
        output = F.group_norm(x, groups, weight, bias, eps)
        case("group_norm", name, output, {"num_groups": groups, "eps": eps}, x=x, weight=weight, bias=bias)
    x = random(1, 4, 6)
    x[0, 0] = 3.5  # no variance: the bias alone is left
    x[0, 1] = (x[0, 1] + 1000).float().double()  # a mean far from zero
    x[0, 2] = x[0, 2] * 2.0**-20  # a variance far below the epsilon
    case("group_norm", "odd_groups", F.group_norm(x, 4, eps=1e-5), {"num_groups": 4, "eps": 1e-5}, x=x)
    for name, shape in [("rank3", (2, 3, 7)), ("rank4", (2, 3, 4, 5)), ("rank5", (1, 3, 2, 3, 2))]:
        x, weight, bias = random(*shape), random(shape[1]), random(shape[1])
        output = F.instance_norm(x, weight=weight, bias=bias, eps=1e-5)
        case("instance_norm", name, output, {"eps": 1e-5}, x=x, weight=weight, bias=bias)
        case("instance_norm", name + "_not_affine", F.instance_norm(x, eps=1e-5), {"eps": 1e-5}, x=x)


def layer_norm(case, random):
    for name, shape, dims in [("two_dims", (2, 3, 5), 2), ("three_dims", (2, 3, 2, 4), 3), ("all_dims", (3, 5), 2)]:
        normalized = shape[-dims:]
        x, weight, bias = random(*shape), random(*normalized), random(*normalized)
        case("layer_norm", name, F.layer_norm(x, normalized, weight, bias, 1e-5), {"eps": 1e-5}, x=x, weight=weight, bias=bias)


def local_response_norm(case, random):
    for name, shape, size, alpha, beta, k in [
        ("defaults", (2, 7, 5), 5, 1e-4, 0.75, 1.0),
        ("alexnet", (1, 6, 3, 4), 5, 1e-4, 0.75, 2.0),
        ("even_window", (2, 7, 3), 4, 1.5, 0.75, 1.0),
        ("window_of_two", (2, 5, 3), 2, 1.5, 0.5, 0.25),
        ("one_channel_a_window", (2, 5, 3), 1, 1.5, 0.75, 1.0),
        ("wider_than_all_channels", (1, 3, 4), 9, 2.0, 1.25, 1.0),
        ("rank5", (1, 4, 2, 3, 2), 3, 1.0, 0.75, 1.0),
    ]:
        x = random(*shape, low=-10.0, high=10.0)
        output = F.local_response_norm(x, size, alpha, beta, k)
        case("local_response_norm", name, output, {"size": size, "alpha": alpha, "beta": beta, "k": k}, x=x)


def activations(case, random, values):
    middle = torch.cat([torch.linspace(-6, 6, 25), torch.tensor([0.3, -0.3, 1e-4, -1e-4, 0.0, -0.0, NAN])]).double()
    ends = (20.0, 88.0, 100.0, 1e4, 1e30, INF)
    far = values(*ends, *(-x for x in ends), NAN)
    functions = [
        ("leaky_relu", lambda x, negative_slope: F.leaky_relu(x, negative_slope), [{"negative_slope": 0.125}, {"negative_slope": -2.0}]),
        ("elu", lambda x, alpha: F.elu(x, alpha), [{"alpha": 1.0}, {"alpha": 1.75}]),
        ("softplus", lambda x, beta, threshold: F.softplus(x, beta, threshold), [{"beta": 1.0, "threshold": 20.0}, {"beta": 2.5, "threshold": 4.0}, {"beta": 0.25, "threshold": 1000.0}]),
        ("hardtanh", lambda x, min_val, max_val: F.hardtanh(x, min_val, max_val), [{"min_val": -1.0, "max_val": 1.0}, {"min_val": 0.0, "max_val": 6.0}, {"min_val": -0.5, "max_val": 3.25}]),
        ("log_sigmoid", F.logsigmoid, [{}]),
        ("softshrink", lambda x, lambd: F.softshrink(x, lambd), [{"lambd": 0.5}, {"lambd": 0.0}, {"lambd": 2.25}]),
    ]
    for op, function, options in functions:
        for number, attributes in enumerate(options):
            for name, x in [("range", middle), ("far", far)]:
                if op == "softshrink":
                    x = x[~x.isnan()]  # PyTorch 1.13 makes a NaN 0; Kiln and later versions of PyTorch keep it
                case(op, f"{name}{number}", function(x, **attributes), attributes, x=x)
    for op, function in [("relu", F.relu), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh)]:
        case(op, "far", function(far), x=far)
    for name, shape, slopes in [("rank2", (4, 3), 3), ("rank4", (2, 3, 4, 5), 3), ("one_slope", (2, 3, 4), 1), ("rank1", (6,), 1)]:
        x, weight = random(*shape), random(slopes)
        x.view(-1)[1] = NAN
        case("prelu", name, F.prelu(x, weight), x=x, weight=weight)


def log_softmax(case, random, values):
    x = random(3, 4, 5, low=-4, high=4)
    for dim in range(3):
        case("log_softmax", f"dim{dim}", F.log_softmax(x, dim), {"dim": dim}, x=x)
    x = torch.stack([values(1e4, 1e4 - 1, -1e4), values(-1e4, -1e4, -1e4), values(1e30, -1e30, 0.0), values(1.0, NAN, 2.0), values(-INF, 1.0, 2.0), values(0.0, -200.0, 90.0)])
    case("log_softmax", "extremes", F.log_softmax(x, 1), {"dim": 1}, x=x)
