use std::collections::BTreeSet;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Tally {
    /// The sum of the `test result:` lines that test programs close with; `None` where there is none.
    pub(crate) fn of_output(output: &str) -> Option<Tally> {
        let results = output.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
        let mut tallies = results.filter_map(Tally::of_result).peekable();
        tallies.peek()?;
        Some(tallies.fold(Tally::default(), |mut sum, tally| {
            sum += tally;
            sum
        }))
    }

    /// One line: `ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s`.
    fn of_result(line: &str) -> Option<Tally> {
        let (_, counts) = line.split_once(". ")?;
        let count = |what: &str| {
            let part = counts.split(';').map(str::trim).find_map(|part| part.strip_suffix(what))?;
            part.trim().parse().ok()
        };
        Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

/// What the test harness wrote to `KILN_TEST_LOG`: which adapters ran, and which tests skipped and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestLog {
    pub(crate) adapters: BTreeSet<String>,
    pub(crate) skips: BTreeSet<String>,
}

impl TestLog {
    pub(crate) fn parse(text: &str) -> TestLog {
        let with = |prefix: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix(prefix))
                .map(|rest| rest.trim().to_owned())
                .collect()
        };
        TestLog { adapters: with("adapter:"), skips: with("skip:") }
    }

    /// A test that skips itself has passed as far as the test program knows; here it counts as skipped.
    pub(crate) fn correct(&self, mut tally: Tally) -> Tally {
        let skips = self.skips.len().min(tally.passed);
        tally.passed -= skips;
        tally.skipped += skips;
        tally
    }

    pub(crate) fn adapter(&self) -> String {
        match self.adapters.len() {
            0 => "none used".into(),
            _ => self.adapters.iter().map(String::as_str).collect::<Vec<_>>().join("; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s
";

    #[test]
    fn result_lines_add_up() {
        assert_eq!(Tally::of_output(OUTPUT), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
    }

    #[test]
    fn a_program_that_died_has_no_tally() {
        assert_eq!(Tally::of_output("running 3 tests\ntest a ... ok\n"), None);
    }

    #[test]
    fn a_mangled_result_is_not_zero() {
        assert_eq!(Tally::of_output("test result: ok. many passed; 0 failed; 0 ignored;"), None);
    }

    #[test]
    fn the_log_names_adapters_and_skips_once() {
        let log = TestLog::parse(
            "adapter: llvmpipe, Vulkan\nskip: t5::ids: no KILN_TEST_DATA\nadapter: llvmpipe, Vulkan\n\
             skip: t5::ids: no KILN_TEST_DATA\nsomething else\n",
        );
        assert_eq!(log.adapter(), "llvmpipe, Vulkan");
        assert_eq!(log.skips.iter().collect::<Vec<_>>(), ["t5::ids: no KILN_TEST_DATA"]);
        let corrected = log.correct(Tally { passed: 5, failed: 1, skipped: 2 });
        assert_eq!(corrected, Tally { passed: 4, failed: 1, skipped: 3 });
    }

    #[test]
    fn no_log_means_no_adapter() {
        assert_eq!(TestLog::parse("").adapter(), "none used");
    }
}
