//! A profile in the trace event format of Chrome, which Perfetto reads too: one track for the device, on which layers
//! lie as slices around their kernels.

use std::io::{self, Write};

use kiln::gpu::DeviceProfile;
use kiln::models::measure::{Profile, StepProfile};
use serde_json::{Value, json};

use super::super::numbers::milliseconds;
use super::report::Subject;

/// Writes the kernels of a run, each as long as its median, without pauses in between.
pub(super) fn write(
    out: &mut impl Write,
    subject: &Subject<'_>,
    device: &DeviceProfile,
    profile: &Profile,
) -> io::Result<()> {
    let name =
        |what: &str, name: &str| json!({"ph": "M", "pid": 1, "tid": 1, "name": what, "args": {"name": name}});
    let mut events = vec![name("process_name", subject.model), name("thread_name", &device.name)];
    events.extend(slices(&profile.steps));
    let trace = json!({
        "displayTimeUnit": "ms",
        "otherData": {
            "what": subject.title,
            "adapter": device.name,
            "driver": device.driver,
            "samples": profile.runs.count(),
            "run_ms": milliseconds(profile.runs.median()),
        },
        "traceEvents": events,
    });
    serde_json::to_writer(&mut *out, &trace)?;
    writeln!(out)
}

/// A slice that has begun.
struct Open<'a> {
    part: &'a str,
    /// Its place among the events.
    event: usize,
    start: u128,
}

/// Slices for each part of the layers' paths and for each kernel, outer ones first.
fn slices(steps: &[StepProfile]) -> Vec<Value> {
    let mut events: Vec<Value> = vec![];
    let mut open: Vec<Open<'_>> = vec![];
    let mut now: u128 = 0;
    for step in steps {
        let parts: Vec<&str> = step.layer.split('/').filter(|part| !part.is_empty()).collect();
        let shared = open.iter().zip(&parts).take_while(|(open, part)| open.part == **part).count();
        close(&mut open, shared, &mut events, now);
        for (depth, &part) in parts.iter().enumerate().skip(shared) {
            open.push(Open { part, event: events.len(), start: now });
            events.push(slice(part, "layer", now, json!({"path": parts[..=depth].join("/")})));
        }
        let (took, end) = (step.duration.as_secs_f64(), now + step.duration.as_nanos());
        let rate = |amount: u64| (took > 0.0).then(|| amount as f64 / took / 1e9);
        let mut event = slice(
            &step.kernel,
            "kernel",
            now,
            json!({
                "op": step.op,
                "multiply_adds": step.work.multiply_adds,
                "gflops": rate(2 * step.work.multiply_adds),
                "bytes": step.bytes,
                "gigabytes_per_second": rate(step.bytes),
            }),
        );
        event["dur"] = json!(micros(end - now));
        events.push(event);
        now = end;
    }
    close(&mut open, 0, &mut events, now);
    events
}

/// Ends the slices beyond the first `keep`.
fn close(open: &mut Vec<Open<'_>>, keep: usize, events: &mut [Value], now: u128) {
    for ended in open.drain(keep..) {
        events[ended.event]["dur"] = json!(micros(now - ended.start));
    }
}

fn slice(name: &str, category: &str, start: u128, args: Value) -> Value {
    json!({"ph": "X", "pid": 1, "tid": 1, "name": name, "cat": category, "ts": micros(start), "args": args})
}

fn micros(nanos: u128) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln::engine::Work;
    use std::time::Duration;

    fn step(layer: &str, kernel: &str, micros: u64) -> StepProfile {
        StepProfile {
            layer: layer.to_owned(),
            kernel: kernel.to_owned(),
            op: "matmul",
            duration: Duration::from_micros(micros),
            work: Work::products(1_000),
            bytes: 4_000,
        }
    }

    #[test]
    fn layers_lie_around_their_kernels() {
        let steps = [
            step("a/b", "x", 10),
            step("a/b", "y", 5),
            step("a/c", "x", 1),
            step("d", "z", 0),
            step("", "w", 2),
        ];
        let seen: Vec<(String, String, f64, f64)> = slices(&steps)
            .iter()
            .map(|event| {
                let text = |key: &str| event[key].as_str().expect("it should be text").to_owned();
                let number = |key: &str| event[key].as_f64().expect("it should be a number");
                (text("name"), text("cat"), number("ts"), number("dur"))
            })
            .collect();
        let expected = [
            ("a", "layer", 0.0, 16.0),
            ("b", "layer", 0.0, 15.0),
            ("x", "kernel", 0.0, 10.0),
            ("y", "kernel", 10.0, 5.0),
            ("c", "layer", 15.0, 1.0),
            ("x", "kernel", 15.0, 1.0),
            ("d", "layer", 16.0, 0.0),
            ("z", "kernel", 16.0, 0.0),
            ("w", "kernel", 16.0, 2.0),
        ];
        let expected = expected.map(|(name, cat, ts, dur)| (name.to_owned(), cat.to_owned(), ts, dur));
        assert_eq!(seen, expected);
    }
}
