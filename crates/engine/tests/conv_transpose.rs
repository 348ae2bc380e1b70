//! What becomes of a transposed convolution on made-up devices. No device is needed.

use kiln_engine::ops::ConvTransposeOptions;
use kiln_engine::plan::Constants;
use kiln_engine::{DType, EngineError, GraphBuilder, Plan, compile};
use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

fn profile(kind: DeviceKind) -> DeviceProfile {
    DeviceProfile::made_up(kind, Limits::default())
}

const DOUBLING: ConvTransposeOptions<2> = ConvTransposeOptions {
    stride: [2, 2],
    padding: [1, 1],
    output_padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

/// The kernels of what runs at load and of what runs each time, for a layer with bias, activation and residual.
fn kernels(
    kind: DeviceKind,
    weight: [usize; 4],
    options: ConvTransposeOptions<2>,
) -> Result<[Vec<String>; 2], EngineError> {
    let mut g = GraphBuilder::new("decoder");
    let x = g.input("x", &[1, weight[0], 14, 14], DType::F32);
    let outputs = weight[1] * options.groups;
    let (weight, bias) = (g.constant("weight", &weight), g.constant("bias", &[outputs]));
    let residual = g.input("residual", &[1, outputs, 28, 28], DType::F32);
    let y = g.conv_transpose2d(x, weight, Some(bias), options)?;
    let y = g.relu(y)?;
    let y = g.add(residual, y)?;
    g.output("y", y);
    let profile = profile(kind);
    let hoisted = compile(&g.finish(), &profile)?;
    let prepare = Plan::build(&hoisted.prepare, &profile, Constants::Streamed)?;
    let main = Plan::build(&hoisted.main, &profile, Constants::Resident)?;
    [&prepare, &main].into_iter().try_for_each(|plan| plan.check(&profile.limits))?;
    Ok([prepare, main].map(|plan| plan.dispatches().map(|step| step.kernel.to_string()).collect()))
}

#[test]
fn the_weight_is_packed_at_load_and_all_the_rest_is_one_kernel() -> Result<(), EngineError> {
    for (kind, outputs, pack, kernel) in [
        (DeviceKind::Cpu, 64, "matmul_pack_wide/across", "conv_transpose2d_row/row14_2"),
        (DeviceKind::Cpu, 7, "matmul_pack/base", "conv_transpose2d_row/row14_2"),
        (DeviceKind::Discrete, 64, "matmul_pack/base", "conv_transpose2d_gather/gpu64"),
        (DeviceKind::Integrated, 7, "matmul_pack/base", "conv_transpose2d_gather/gpu16"),
    ] {
        let [prepare, main] = kernels(kind, [16, outputs, 4, 4], DOUBLING)?;
        assert_eq!(prepare, ["copy_strided/base", pack], "{kind} {outputs}");
        assert_eq!(main, [kernel], "{kind} {outputs}");
    }
    Ok(())
}

#[test]
fn groups_of_one_channel_are_not_packed() -> Result<(), EngineError> {
    let depthwise = ConvTransposeOptions { groups: 16, ..DOUBLING };
    for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
        let [prepare, main] = kernels(kind, [16, 1, 4, 4], depthwise)?;
        assert_eq!((prepare.len(), main), (0, vec!["conv_transpose2d_naive/base".to_owned()]), "{kind}");
    }
    Ok(())
}

/// The gradient of a convolution without stride is a convolution, and that of a depthwise one of stride 2 has a kernel of
/// its own on software adapters.
#[test]
fn gradients_of_convolutions() -> Result<(), EngineError> {
    let full = ConvTransposeOptions { stride: [1, 1], padding: [1, 1], ..DOUBLING };
    for (kind, options, weight, expected) in [
        (DeviceKind::Cpu, full, [16, 16, 3, 3], "conv2d_"),
        (DeviceKind::Discrete, full, [16, 16, 3, 3], "conv2d_shared"),
        (
            DeviceKind::Cpu,
            ConvTransposeOptions { groups: 16, ..full },
            [16, 1, 3, 3],
            "conv2d_depthwise_rows",
        ),
    ] {
        let mut g = GraphBuilder::new("gradient");
        let x = g.input("x", &[1, 16, 14, 14], DType::F32);
        let weight = g.variable("weight", &weight, DType::F32);
        let y = g.conv_transpose2d(x, weight, None, options)?;
        g.output("y", y);
        let profile = profile(kind);
        let plan = Plan::build(&compile(&g.finish(), &profile)?.main, &profile, Constants::Resident)?;
        let kernels: Vec<String> = plan.dispatches().map(|step| step.kernel.to_string()).collect();
        assert_eq!(kernels[0], "conv_weight_flip/base", "{kind}");
        assert!(kernels.last().is_some_and(|kernel| kernel.starts_with(expected)), "{kind}: {kernels:?}");
    }
    let halved = ConvTransposeOptions { groups: 16, output_padding: [1, 1], ..DOUBLING };
    let mut g = GraphBuilder::new("gradient");
    let x = g.input("x", &[1, 16, 7, 7], DType::F32);
    let weight = g.variable("weight", &[16, 1, 3, 3], DType::F32);
    let y = g.conv_transpose2d(x, weight, None, halved)?;
    g.output("y", y);
    let profile = profile(DeviceKind::Cpu);
    let plan = Plan::build(&compile(&g.finish(), &profile)?.main, &profile, Constants::Resident)?;
    let kernels: Vec<String> = plan.dispatches().map(|step| step.kernel.to_string()).collect();
    assert_eq!(kernels, ["conv_transpose2d_depthwise/three"]);
    Ok(())
}

/// 20,000 channels at four taps each are more than a software driver lets one invocation loop.
#[test]
fn deep_sums_are_cut_on_software_adapters_alone() -> Result<(), EngineError> {
    let deep = [20_000, 8, 4, 4];
    let [_, main] = kernels(DeviceKind::Discrete, deep, DOUBLING)?;
    assert_eq!(main.len(), 1, "{main:?}");
    let [_, main] = kernels(DeviceKind::Cpu, deep, DOUBLING)?;
    assert_eq!(main.iter().filter(|kernel| kernel.starts_with("conv_transpose2d")).count(), 3, "{main:?}");
    let grouped = kernels(DeviceKind::Cpu, [40_000, 8, 4, 4], ConvTransposeOptions { groups: 2, ..DOUBLING });
    assert_eq!(
        grouped.map_err(|e| e.to_string()),
        Err("conv_transpose2d \"decoder\": loop iterations on a software adapter: expected at most 60000, got 80010"
            .to_owned())
    );
    Ok(())
}
