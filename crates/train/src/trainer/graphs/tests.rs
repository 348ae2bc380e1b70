use kiln_engine::plan::{Constants, Step};
use kiln_engine::{Plan, compile};
use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

use super::*;

/// More than weights, variables and the largest live set, at most.
const ALLOWED: f64 = 1.15;

/// Every network that comes with Kiln is trained in little more memory than it takes at the worst moment of a step.
#[test]
fn steps_run_in_little_more_than_their_live_sets() -> Result<(), TrainError> {
    for name in Architecture::names() {
        let architecture = Architecture::by_name(&name)?;
        for (optimizer, kind) in [("sgd", DeviceKind::Cpu), ("adam", DeviceKind::Discrete)] {
            let defaults = crate::config::RunOptions {
                arch: Some(name.clone()),
                data: Some("none".into()),
                optimizer: Some(optimizer.into()),
                ..Default::default()
            };
            let options = defaults.resolve()?.0.trainer_options();
            let graphs = Graphs { architecture: &architecture, options: &options };
            let profile = DeviceProfile::made_up(kind, Limits::BASELINE);
            for graph in [graphs.step(100)?, graphs.part(50)?, graphs.applied()?, graphs.evaluation(100)?] {
                let main = compile(&graph, &profile)?.main;
                let plan = Plan::build(&main, &profile, Constants::Resident)?;
                let kernels = plan.steps.iter().rposition(|step| matches!(step, Step::Dispatch(_)));
                let copies = plan.steps.iter().position(|step| matches!(step, Step::Copy { .. }));
                assert!(copies.is_none_or(|copy| Some(copy) > kernels), "{name}: a copy ends the pass");
                let memory = plan.memory();
                let ratio = memory.total() as f64 / memory.bound() as f64;
                assert!(ratio <= ALLOWED, "{name} {} on {kind:?}: {ratio:.3}, {memory:?}", graph.name());
                assert!(memory.live <= memory.pooled, "{memory:?}");
            }
        }
    }
    Ok(())
}
