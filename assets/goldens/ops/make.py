#!/usr/bin/env python3
"""Makes goldens of single operations with PyTorch.

    /usr/bin/python3 -m venv --system-site-packages /tmp/torchenv      # Debian's python3-torch 1.13
    /tmp/torchenv/bin/pip install 'numpy<2' safetensors==0.8.0
    /tmp/torchenv/bin/python make.py

Kiln's own oracle is plain loops written by the same hands as the kernels; these cases are for what
both might get wrong in the same way: where an epsilon goes, which of two equal maxima counts, what a
NaN does, how shapes broadcast. Inputs are representable in f32 and stored as F32; outputs are computed
in double precision and stored as F64. cases.json lists the cases, tensors.safetensors holds the
tensors by the name "op/case/tensor". Integers (indices, offsets, axes) stand in cases.json.
"""

import json
import pathlib
import platform

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

import conv
import gradients
import norm
import pool
import resample

HERE = pathlib.Path(__file__).resolve().parent
NAN, INF = float("nan"), float("inf")
LOWEST = torch.finfo(torch.float32).min

generator = np.random.Generator(np.random.PCG64(20_240_301))
cases = []
tensors = {}


def random(*shape, low=-2.0, high=2.0):
    """Uniform numbers, each exact in f32, as a tensor in double precision."""
    return torch.from_numpy(generator.uniform(low, high, shape).astype(np.float32)).double()


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).double()


def case(op, name, output, attributes=None, **inputs):
    prefix = f"{op}/{name}/"
    assert prefix + "output" not in tensors, prefix
    for key, tensor in inputs.items():
        single = tensor.float()
        assert torch.equal(torch.nan_to_num(single.double()), torch.nan_to_num(tensor)), (prefix, key)
        tensors[prefix + key] = single.contiguous()
    tensors[prefix + "output"] = output.double().contiguous()
    cases.append({"op": op, "case": name, "attributes": attributes or {}, "inputs": list(inputs)})


def layer_norm():
    for name, shape, eps in [("rows_of_7", (3, 7), 1e-12), ("batch", (2, 3, 5), 1e-5), ("one_column", (4, 1), 1e-5)]:
        x, weight, bias = random(*shape), random(shape[-1]), random(shape[-1])
        case("layer_norm", name, F.layer_norm(x, shape[-1:], weight, bias, eps), {"eps": eps}, x=x, weight=weight, bias=bias)
    x = random(4, 6)
    x[0] = 3.5  # no variance: the bias alone is left
    x[1] = x[1] + 1000  # a mean far from zero
    x[1] = x[1].float().double()
    x[2] = x[2] * 2.0**-20  # a variance far below the epsilon
    weight, bias = random(6), random(6)
    case("layer_norm", "odd_rows", F.layer_norm(x, (6,), weight, bias, 1e-5), {"eps": 1e-5}, x=x, weight=weight, bias=bias)


def activations():
    plain = torch.cat([torch.linspace(-6, 6, 25), torch.tensor([-40.0, -12.0, 12.0, 40.0, 1e-4, -1e-4, 0.0, -0.0, NAN])])
    plain = plain.double()
    for name, function in [
        ("gelu", lambda x: F.gelu(x)),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("relu", F.relu),
        ("silu", F.silu),
        ("sigmoid", torch.sigmoid),
        ("tanh", torch.tanh),
        ("neg", torch.neg),
        ("abs", torch.abs),
    ]:
        case(name, "range", function(plain), x=plain)
    x = values(-100.0, -20.0, -1.0, -0.0, 0.0, 0.5, 1.0, 10.0, 80.0, NAN)
    case("exp", "range", torch.exp(x), x=x)
    x = values(1e-30, 1e-3, 0.25, 1.0, 2.0, 1e6, 1e30, NAN)
    for name, function in [("log", torch.log), ("sqrt", torch.sqrt), ("rsqrt", torch.rsqrt)]:
        case(name, "range", function(x), x=x)


def softmax():
    x = random(3, 4, 5, low=-4, high=4)
    for dim in range(3):
        case("softmax", f"dim{dim}", torch.softmax(x, dim), {"dim": dim}, x=x)
    for dim, mask_shape in [(0, (3, 1, 5)), (1, (4, 1)), (2, (5,)), (2, (3, 1, 5)), (2, (3, 4, 5))]:
        hidden = random(*mask_shape) > 0.8
        hidden &= ~hidden.all(dim - 3, keepdim=True)  # no line without anything left to see
        assert hidden.any()
        mask = torch.where(hidden, torch.tensor(LOWEST), torch.tensor(0.0)).double()
        name = f"dim{dim}_mask_" + "x".join(map(str, mask_shape))
        case("softmax", name, torch.softmax(x + mask, dim), {"dim": dim}, x=x, mask=mask)
    mask = torch.zeros(2, 6)
    mask[0, 3:] = -INF
    mask[1, 0] = -INF
    x = random(2, 6)
    case("softmax", "minus_infinity", torch.softmax(x + mask.double(), 1), {"dim": 1}, x=x, mask=mask.double())
    x = torch.stack([values(1e4, 1e4 - 1, -1e4), values(-1e4, -1e4, -1e4), values(3e38, -3e38, 0.0), values(1.0, NAN, 2.0)])
    case("softmax", "extremes", torch.softmax(x, 1), {"dim": 1}, x=x)
    # Where nothing is left to see, the lowest f32 swallows every score, in f32 and in f64 alike.
    x = random(2, 4)
    mask = torch.full((2, 4), LOWEST).double()
    case("softmax", "all_masked", torch.softmax(x + mask, 1), {"dim": 1}, x=x, mask=mask)


def reductions():
    x = random(2, 3, 4, 5)
    for dims in [(0,), (1,), (3,), (1, 2), (0, 3), (1, 3), (0, 1, 2, 3)]:
        name = "dims" + "".join(map(str, dims))
        for keep_dim in [False, True]:
            attributes = {"dims": list(dims), "keep_dim": keep_dim}
            suffix = name + ("_kept" if keep_dim else "")
            case("sum", suffix, x.sum(dims, keepdim=keep_dim), attributes, x=x)
            case("mean", suffix, x.mean(dims, keepdim=keep_dim), attributes, x=x)
            case("max", suffix, x.amax(dims, keepdim=keep_dim), attributes, x=x)
    ties = torch.stack([values(1, 3, 3, 2), values(5, 5, 5, 5), values(-1, -2, -1, -3), values(-0.0, 0.0, -0.0, 0.0)])
    nans = torch.stack([values(1, NAN, 9, 2), values(NAN, 7, NAN, 8), values(-INF, -INF, -INF, -INF), values(LOWEST, -INF, LOWEST, INF)])
    for name, x in [("ties", ties), ("nan", nans), ("random", random(4, 6))]:
        for dim in range(2):
            attributes = {"dims": [dim], "keep_dim": dim == 1}
            case("argmax", f"{name}_dim{dim}", first_greatest(x, dim, dim == 1), attributes, x=x)
            case("max", f"{name}_dim{dim}", x.amax(dim, keepdim=dim == 1), attributes, x=x)
        whole = first_greatest(x.flatten(), 0, False)
        case("argmax", f"{name}_all", whole, {"dims": [0, 1], "keep_dim": False}, x=x)
    x = random(2, 3, 4)
    # Over several axes the place is counted in row-major order over these axes alone.
    case("argmax", "dims02", x.permute(1, 0, 2).reshape(3, 8).argmax(1), {"dims": [0, 2], "keep_dim": False}, x=x)
    case("argmax", "dims12_kept", x.reshape(2, 12).argmax(1).reshape(2, 1, 1), {"dims": [1, 2], "keep_dim": True}, x=x)


def first_greatest(x, dim, keep_dim):
    """torch.argmax on the CPU: the first of equal maxima, and a NaN above all; checked, since PyTorch
    does not promise the first of several."""
    index = torch.argmax(x, dim, keepdim=keep_dim)
    largest = torch.amax(x, dim, keepdim=True)
    hit = (x == largest) | (torch.isnan(x) & torch.isnan(largest))
    first = hit.double().cumsum(dim).eq(0).sum(dim, keepdim=keep_dim)
    assert torch.equal(index, first), (x, index, first)
    return index


def l2_normalize():
    x = random(5, 6)
    x[1] = 0.0  # stays zero
    x[2] = x[2] * 2.0**-60  # its length is below the epsilon: divided by the epsilon
    x[3] = x[3] * 2.0**30
    x[4] = 0.0
    x[4, 2] = -3.0
    for eps in [1e-12, 0.5]:
        output = F.normalize(x, dim=-1, eps=eps)
        case("l2_normalize", f"eps_{eps}", output, {"eps": eps}, x=x)
    x = random(2, 3, 4)
    case("l2_normalize", "batch", F.normalize(x, dim=-1, eps=1e-12), {"eps": 1e-12}, x=x)


def attention():
    def dense(q, k, v, heads, scale):
        """One sequence, each head alone, by PyTorch's own attention, which scales by 1 / sqrt(width)."""
        width = q.shape[1] // heads
        split = lambda x: x.reshape(x.shape[0], heads, width).transpose(0, 1)
        q = split(q) * (scale * width**0.5)
        result = F._scaled_dot_product_attention(q, split(k), split(v))
        result = result[0] if isinstance(result, tuple) else result
        return result.transpose(0, 1).reshape(-1, heads * width)

    def packed(q, k, v, spans, heads, scale):
        rows = []
        for token, (start, end) in enumerate(spans):
            if start == end:
                rows.append(torch.zeros(1, q.shape[1], dtype=q.dtype))
            else:
                rows.append(dense(q[token : token + 1], k[start:end], v[start:end], heads, scale))
        return torch.cat(rows)

    for name, lengths, heads, width, scale in [
        ("one_sequence", [5], 1, 8, 8**-0.5),
        ("packed", [3, 1, 6, 2], 3, 4, 0.5),
        ("padded_tail", [4, 3, None, None], 2, 6, 0.3),
        ("large_scores", [4, 4], 2, 4, 25.0),
    ]:
        spans, at = [], 0
        for length in lengths:
            if length is None:
                spans.append([0, 0])
                continue
            spans += [[at, at + length]] * length
            at += length
        q, k, v = (random(len(spans), heads * width) for _ in range(3))
        output = packed(q, k, v, spans, heads, scale)
        if name == "packed":  # the packed form must be what each sequence gives alone
            start = 0
            for length in lengths:
                part = slice(start, start + length)
                alone = dense(q[part], k[part], v[part], heads, scale)
                assert torch.allclose(alone, output[part], atol=1e-14)
                start += length
        case("attention", name, output, {"heads": heads, "scale": scale, "spans": spans}, q=q, k=k, v=v)


def lookups():
    x = random(4, 3, 5)
    for dim, index in [(0, [3, 0, 0]), (1, [2, 2, 1, 0, 1]), (2, [4])]:
        output = torch.index_select(x, dim, torch.tensor(index))
        case("index_select", f"dim{dim}", output, {"dim": dim, "index": index}, x=x)
    table = random(7, 3)
    ids = [[0, 6, 3], [3, 3, 1]]
    case("embedding", "batch", F.embedding(torch.tensor(ids), table), {"ids": ids}, table=table)
    x = random(9, 4)
    offsets = [0, 3, 3, 4, 9]  # the second segment is empty
    rows = torch.arange(9)
    output = F.embedding_bag(rows, x, torch.tensor(offsets), mode="mean", include_last_offset=True)
    case("segment_mean", "empty_segment", output, {"offsets": offsets}, x=x)


def broadcasting():
    shapes = [((2, 3, 4), (4,)), ((3, 1), (1, 4)), ((2, 1, 4), (3, 1)), ((), (2, 3)), ((5,), (5,)), ((1,), (2, 1, 3))]
    functions = {
        "add": torch.add,
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
    }
    for op, function in functions.items():
        for left, right in shapes:
            a, b = random(*left), random(*right)
            text = lambda shape: "x".join(map(str, shape)) or "scalar"
            case(op, f"{text(left)}_and_{text(right)}", function(a, b), a=a, b=b)
        a = values(1.0, -1.0, 0.0, NAN, 2.0, NAN, INF, -INF, 3.0)
        b = values(0.0, 0.0, 5.0, 1.0, NAN, NAN, 2.0, 1.0, 3.0)
        case(op, "special", function(a, b), a=a, b=b)


def matrices():
    for name, left, right in [
        ("plain", (3, 5), (5, 4)),
        ("batched", (2, 3, 5), (2, 5, 4)),
        ("broadcast_right", (2, 3, 5), (5, 4)),
        ("broadcast_left", (3, 5), (2, 5, 4)),
        ("broadcast_both", (2, 1, 3, 5), (3, 5, 4)),
        ("one_row", (1, 7), (7, 3)),
        ("one_column", (3, 7), (7, 1)),
    ]:
        a, b = random(*left), random(*right)
        case("matmul", name, torch.matmul(a, b), a=a, b=b)
        b = b.transpose(-1, -2).contiguous()
        case("matmul_nt", name, torch.matmul(a, b.transpose(-1, -2)), a=a, b=b)
    for name, shape in [("rows", (4, 6)), ("batch", (2, 3, 6))]:
        x, weight, bias = random(*shape), random(5, 6), random(5)
        case("linear", name, F.linear(x, weight, bias), x=x, weight=weight, bias=bias)
        case("linear", name + "_no_bias", F.linear(x, weight), x=x, weight=weight)


def movement():
    x = random(2, 3, 4)
    for dims in [(2, 0, 1), (0, 2, 1), (2, 1, 0)]:
        case("permute", "".join(map(str, dims)), x.permute(dims), {"dims": list(dims)}, x=x)
    for dim, start, end in [(0, 1, 2), (1, 0, 2), (2, 1, 4)]:
        output = x.narrow(dim, start, end - start)
        case("slice", f"dim{dim}", output, {"dim": dim, "start": start, "end": end}, x=x)
    for dim, shapes in [(0, [(1, 3), (2, 3)]), (1, [(2, 1), (2, 4), (2, 2)]), (2, [(2, 2, 1), (2, 2, 3)])]:
        parts = {f"x{i}": random(*shape) for i, shape in enumerate(shapes)}
        case("concat", f"dim{dim}", torch.cat(list(parts.values()), dim), {"dim": dim}, **parts)


def main():
    for make in [layer_norm, activations, softmax, reductions, l2_normalize, attention, lookups, broadcasting, matrices, movement]:
        make()
    conv.make(case, random)
    norm.make(case, random, values)
    pool.make(case, random, values)
    resample.make(case, random, values)
    gradients.make(case, random, values)
    meta = {
        "made_by": "make.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    safetensors.torch.save_file(tensors, HERE / "tensors.safetensors", metadata={"meta": json.dumps(meta)})
    (HERE / "tensors.safetensors").chmod(0o644)
    rows = ",\n  ".join(json.dumps(row) for row in cases)
    body = json.dumps({"meta": meta}, indent=1)[:-2] + ',\n "cases": [\n  ' + rows + "\n ]\n}\n"
    json.loads(body)
    (HERE / "cases.json").write_text(body, encoding="utf-8")
    print(f"{len(cases)} cases of {len({row['op'] for row in cases})} operations, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
