use kiln_engine::{AdamOptions, RmsPropOptions, SgdOptions};
use proptest::prelude::*;

use super::*;

fn asked(arch: &str) -> RunOptions {
    RunOptions { arch: Some(arch.to_owned()), data: Some("fashion-mnist".into()), ..RunOptions::default() }
}

fn resolved(options: RunOptions) -> RunConfig {
    options.resolve().unwrap().0
}

#[track_caller]
fn refused(options: RunOptions) -> String {
    let error = options.resolve().unwrap_err();
    assert!(error.is_input_error(), "{error}");
    error.to_string()
}

#[test]
fn what_is_not_said_follows_from_the_network() {
    let config = resolved(asked("bn"));
    let defaults = config.network().unwrap().training().clone();
    assert_eq!((config.epochs, config.batch_size, config.seed), (20, 100, 0));
    assert_eq!((config.lr, config.schedule.to_string()), (defaults.lr, defaults.schedule));
    let momentum =
        SgdOptions { momentum: defaults.momentum, weight_decay: defaults.weight_decay, ..Default::default() };
    assert_eq!(config.optimizer, Optimizer::Sgd(momentum));
    assert_eq!((config.train_limit, config.validation, config.early_stop), (None, 0.0, None));
}

#[test]
fn an_activation_that_changes_nothing_is_not_kept() {
    assert_eq!(
        resolved(RunOptions { activation: Some("relu".into()), ..asked("base") }),
        resolved(asked("base"))
    );
    assert_ne!(
        resolved(RunOptions { activation: Some("tanh".into()), ..asked("base") }),
        resolved(asked("base"))
    );
}

#[test]
fn another_optimizer_has_its_own_numbers() {
    let adam = resolved(RunOptions { optimizer: Some("adam".into()), ..asked("bn") });
    assert_eq!((adam.optimizer, adam.lr), (Optimizer::Adam(AdamOptions::ADAM), 1e-3));
    let rmsprop = RunOptions {
        optimizer: Some("rmsprop".into()),
        momentum: Some(0.5),
        alpha: Some(0.9),
        lr: Some(0.2),
        ..asked("bn")
    };
    let numbers = RmsPropOptions { momentum: 0.5, alpha: 0.9, ..RmsPropOptions::default() };
    let rmsprop = resolved(rmsprop);
    assert_eq!((rmsprop.optimizer, rmsprop.lr), (Optimizer::RmsProp(numbers), 0.2));
}

#[test]
fn impossible_values_are_named() {
    let base = || asked("base");
    let table = [
        (RunOptions { arch: None, ..base() }, "run: arch is missing: expected the network"),
        (RunOptions { data: None, ..base() }, "run: data is missing: expected a folder"),
        (RunOptions { epochs: Some(0), ..base() }, "epochs 0: expected at least 1"),
        (RunOptions { batch_size: Some(0), ..base() }, "batch size 0: expected at least 1"),
        (RunOptions { train_limit: Some(0), ..base() }, "train limit 0: expected at least 1"),
        (RunOptions { lr: Some(f64::NAN), ..base() }, "learning rate NaN: expected a finite number above 0"),
        (RunOptions { validation: Some(1.0), ..base() }, "validation 1: expected a number from 0 to below 1"),
        (
            RunOptions { early_stop: Some(3), ..base() },
            "early stop 3: expected a validation part to judge by, and there is none",
        ),
        (RunOptions { clip: Some(-1.0), ..base() }, "clip -1: expected a finite number above 0"),
        (
            RunOptions { optimizer: Some("lion".into()), ..base() },
            "optimizer lion: expected one of sgd, adam, adamw, rmsprop",
        ),
        (
            RunOptions { optimizer: Some("adam".into()), momentum: Some(0.9), ..base() },
            "momentum 0.9: optimizer adam has none",
        ),
        (RunOptions { alpha: Some(0.9), ..base() }, "alpha 0.9: optimizer sgd has none"),
        (
            RunOptions { optimizer: Some("adamw".into()), nesterov: Some(true), ..base() },
            "nesterov true: optimizer adamw has none",
        ),
        (
            RunOptions { seed: Some(u64::MAX), ..base() },
            "seed 18446744073709551615: expected at most 9223372036854775807",
        ),
        (
            RunOptions { label_smoothing: Some(0.1), ..asked("xor") },
            "label smoothing 0.1: network xor does not tell classes apart, expected 0",
        ),
    ];
    for (options, expected) in table {
        assert_eq!(refused(options), expected);
    }
    assert_eq!(
        refused(RunOptions { activation: Some("sigmoid".into()), ..asked("xor") }),
        "activation sigmoid: network xor has no relu that it could take the place of"
    );
    assert!(refused(RunOptions { momentum: Some(-1.0), ..base() }).starts_with("optimizer sgd: momentum"));
    assert!(refused(RunOptions { activation: Some("step".into()), ..base() }).contains("step"));
    assert!(refused(asked("nowhere.toml")).contains("nowhere.toml"));
    assert!(refused(asked("bns")).contains("bns"));
}

#[test]
fn a_configuration_reads_back_from_its_toml() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    std::fs::write(&file, Architecture::by_name("lenet").unwrap().to_toml()).unwrap();
    let options = RunOptions {
        train_limit: Some(500),
        validation: Some(0.1),
        early_stop: Some(3),
        schedule: Some("warmup1,cosine0.001".parse().unwrap()),
        schedule_by: Some(ScheduleBy::Step),
        augment: Some("flip,jitter0.2".parse().unwrap()),
        clip: Some(5.0),
        lr: Some(0.1 + 0.2),
        activation: Some("sigmoid".into()),
        ..asked(file.to_str().unwrap())
    };
    let config = resolved(options);
    assert_eq!(config.arch, "lenet");
    let text = config.to_toml();
    let read = RunConfig::parse(&text, "config.toml").unwrap();
    assert_eq!(read, config);
    assert_eq!(read.network().unwrap(), config.network().unwrap());
    assert_eq!(resolved(RunOptions::parse(&text, "config.toml").unwrap()), config);
    // A network that has a name is only named.
    let named = resolved(asked("bn"));
    assert!(!named.to_toml().contains("architecture"));
    assert_eq!(RunConfig::parse(&named.to_toml(), "").unwrap(), named);
}

#[test]
fn a_slip_in_a_file_is_named_with_its_line() {
    let refused = |text: &str| RunOptions::parse(text, "run.toml").unwrap_err().to_string();
    assert!(refused("arch = \"bn\"\nepoch = 3\n").starts_with("run.toml: line 2: unknown field `epoch`"));
    assert!(refused("epochs = \"many\"\n").starts_with("run.toml: line 1: invalid type: string \"many\""));
    assert!(
        refused("\n\nschedule = \"linear\"\n")
            .starts_with("run.toml: line 3: schedule \"linear\": unknown word")
    );
    assert!(refused("arch = \n").starts_with("run.toml: line 1: "));
    for text in ["arch = 1\n", "=", "arch = \"a\"\narch = \"b\"\n"] {
        assert!(!refused(text).contains('\n'));
    }
    let error = RunConfig::parse("arch = \"bn\"\n", "config.toml").unwrap_err().to_string();
    assert_eq!(error, "config.toml: run: optimizer is missing: expected sgd, adam, adamw or rmsprop");
}

#[test]
fn differences_are_named() {
    let (config, network) =
        RunOptions { activation: Some("sigmoid".into()), ..asked("base") }.resolve().unwrap();
    let differences = |given: RunOptions| config.differences(&network, &given).unwrap();
    assert!(differences(RunOptions::default()).is_empty());
    assert!(differences(config.options()).is_empty());
    assert!(differences(RunOptions { data: Some("elsewhere".into()), ..asked("base") }).is_empty());
    assert_eq!(
        differences(RunOptions { activation: Some("tanh".into()), ..RunOptions::default() }),
        ["the network is base with sigmoid in the run, base with tanh was given"]
    );
    assert_eq!(
        differences(RunOptions { momentum: Some(0.5), validation: Some(0.1), ..asked("lenet") }),
        [
            "the network is base with sigmoid in the run, lenet with sigmoid was given",
            "momentum is 0.9 in the run, 0.5 was given",
            "validation is 0.0 in the run, 0.1 was given"
        ]
    );
    assert!(config.differences(&network, &asked("bns")).is_err());
}

proptest! {
    #[test]
    fn numbers_are_kept_to_the_last_bit(lr in 1e-300..1e300_f64, clip in 1e-300..1e300_f64, seed in 0..=i64::MAX as u64) {
        let config = resolved(RunOptions { lr: Some(lr), clip: Some(clip), seed: Some(seed), ..asked("base") });
        prop_assert_eq!(&RunConfig::parse(&config.to_toml(), "").unwrap(), &config);
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), config);
    }
}
