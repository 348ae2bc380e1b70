//! Plans of products with weights in half precision, for made-up devices. No device is needed.

use kiln_engine::plan::{Constants, SlotKind};
use kiln_engine::{DType, EngineError, Graph, GraphBuilder, Plan, compile};
use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

fn profile(kind: DeviceKind) -> DeviceProfile {
    DeviceProfile::made_up(kind, Limits::default())
}

fn linear(rows: usize, depth: usize, cols: usize, packed: bool) -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new("head");
    let x = g.input("x", &[rows, depth], DType::F32);
    let mut weight = g.constant("weight", &[cols, depth]);
    if packed {
        weight = g.pack_half(weight)?;
    }
    let y = g.linear(x, weight, None)?;
    g.output("y", y);
    Ok(g.finish())
}

/// The one kernel of the main plan, and the bytes of its weight.
fn kernel_and_bytes(graph: &Graph, kind: DeviceKind) -> Result<(String, u64), EngineError> {
    let device = profile(kind);
    let main = Plan::build(&compile(graph, &device)?.main, &device, Constants::Resident)?;
    let kernels: Vec<String> = main.dispatches().map(|dispatch| dispatch.kernel.to_string()).collect();
    let constants = main.slots.iter().filter(|slot| matches!(slot.kind, SlotKind::Constant { .. }));
    let bytes = constants.map(|slot| slot.bytes).sum();
    assert_eq!(kernels.len(), 1, "{main}");
    Ok((kernels[0].clone(), bytes))
}

/// A row of a decoder takes the kernels that read each weight once, and a weight of halves lies in half the memory.
#[test]
fn each_device_reads_halves_by_its_own_kernel() -> Result<(), EngineError> {
    for (rows, depth, software, gpu) in [
        (1, 512, "matmul_flat/one", "matmul_vector/gpu_half_wide_1"),
        (4, 512, "matmul_flat/four", "matmul_vector/gpu_half_wide_4"),
        (1, 516, "matmul_register/flat1", "matmul_vector/gpu_half_1"),
        (3, 510, "matmul_register/flat4", "matmul_vector/gpu_half_4"),
        (8, 512, "matmul_register/flat", "matmul_shared/t16x64_half_wide"),
        (512, 512, "matmul_register/tall", "matmul_shared/t64_half_wide"),
    ] {
        let graph = linear(rows, depth, 32_128, true)?;
        let bytes = 32_128 * depth as u64 * 2;
        assert_eq!(kernel_and_bytes(&graph, DeviceKind::Cpu)?, (software.to_owned(), bytes), "{rows} rows");
        assert_eq!(kernel_and_bytes(&graph, DeviceKind::Discrete)?, (gpu.to_owned(), bytes), "{rows} rows");
    }
    let numbers = kernel_and_bytes(&linear(1, 512, 32_128, false)?, DeviceKind::Cpu)?;
    assert_eq!(numbers, ("matmul_flat/one".to_owned(), 32_128 * 512 * 4));
    Ok(())
}

/// A weight beyond what a device binds is cut as numbers, as halves and as panels, each by its own size.
#[test]
fn a_weight_beyond_a_binding_is_cut() -> Result<(), EngineError> {
    let graph = linear(1, 4096, 32_128, true)?;
    for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
        let device = profile(kind);
        let hoisted = compile(&graph, &device)?;
        let prepare = Plan::build(&hoisted.prepare, &device, Constants::Streamed)?;
        let main = Plan::build(&hoisted.main, &device, Constants::Resident)?;
        // 251 MiB in pieces of 64 MiB at most.
        assert_eq!(main.dispatches().count(), 4, "{main}");
        assert!(prepare.slots.iter().chain(&main.slots).all(|slot| slot.bytes <= 64 << 20), "{prepare}");
    }
    Ok(())
}
