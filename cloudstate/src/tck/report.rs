//! What came out: as a table with the failures below it, and as JUnit's XML.

use std::fmt::{self, Display, Formatter, Write};
use std::path::PathBuf;
use std::time::Duration;

/// The outcomes of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The groups that were run.
    pub groups: Vec<GroupReport>,
    /// After a failure: files with what the processes wrote that the suite has started.
    pub outputs: Vec<PathBuf>,
}

/// The outcomes of one group.
#[derive(Debug)]
pub struct GroupReport {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// Its tests in order.
    pub tests: Vec<TestReport>,
}

/// The outcome of one test.
#[derive(Debug)]
pub struct TestReport {
    /// Its name.
    pub name: &'static str,
    /// What came out.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What came out of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as expected.
    Passed,
    /// What was expected and what was seen.
    Failed(String),
    /// Not run, and why.
    Pending(String),
}

impl Report {
    /// Tests that passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.groups.iter().map(GroupReport::passed).sum()
    }

    /// Tests that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.groups.iter().map(GroupReport::failed).sum()
    }

    /// Tests that were not run.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.groups.iter().map(GroupReport::pending).sum()
    }

    /// The outcomes as JUnit's XML, a test suite a group.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for group in &self.groups {
            // Writing to a string cannot fail.
            let _ = group.junit(&mut xml);
        }
        xml + "</testsuites>\n"
    }
}

impl GroupReport {
    /// Tests that passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.outcome == Outcome::Passed).count()
    }

    /// Tests that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures().count()
    }

    /// Tests that were not run.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.tests.len() - self.passed() - self.failed()
    }

    /// The names of the tests that failed, and what each has seen.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.tests.iter().filter_map(|test| match &test.outcome {
            Outcome::Failed(text) => Some((test.name, text.as_str())),
            Outcome::Passed | Outcome::Pending(_) => None,
        })
    }

    fn junit(&self, xml: &mut String) -> fmt::Result {
        let name = escaped(self.name);
        let seconds: f64 = self.tests.iter().map(|test| test.took.as_secs_f64()).sum();
        let (failures, skipped) = (self.failed(), self.pending());
        writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{seconds:.3}\">",
            self.tests.len()
        )?;
        for test in &self.tests {
            let (test_name, seconds) = (escaped(test.name), test.took.as_secs_f64());
            write!(xml, "    <testcase classname=\"{name}\" name=\"{test_name}\" time=\"{seconds:.3}\"")?;
            match &test.outcome {
                Outcome::Passed => writeln!(xml, "/>")?,
                Outcome::Failed(text) => {
                    let text = escaped(text);
                    writeln!(xml, ">\n      <failure message=\"not as expected\">{text}</failure>\n    </testcase>")?;
                }
                Outcome::Pending(text) => {
                    let text = escaped(text);
                    writeln!(xml, ">\n      <skipped message=\"{text}\"/>\n    </testcase>")?;
                }
            }
        }
        writeln!(xml, "  </testsuite>")
    }

    fn write_details(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, text) in self.failures() {
            let text = text.replace('\n', "\n  ");
            writeln!(f, "\nfailed: {}: {name}\n  {text}", self.name)?;
        }
        Ok(())
    }

    fn write_pending(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<&str> = Vec::new();
        for test in &self.tests {
            match &test.outcome {
                Outcome::Pending(reason) if !reasons.contains(&reason.as_str()) => reasons.push(reason),
                _ => {}
            }
        }
        reasons.iter().try_for_each(|reason| writeln!(f, "pending: {}: {reason}", self.name))
    }
}

/// The table, and below it every failure.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let width = self.groups.iter().map(|group| group.name.len()).max().unwrap_or(0).max("group".len());
        writeln!(f, "{:>2}  {:width$}  passed  failed  pending", "", "group")?;
        for group in &self.groups {
            let (passed, failed, pending) = (group.passed(), group.failed(), group.pending());
            writeln!(f, "{:>2}  {:width$}  {passed:>6}  {failed:>6}  {pending:>7}", group.number, group.name)?;
        }
        let (passed, failed, pending) = (self.passed(), self.failed(), self.pending());
        writeln!(f, "{:>2}  {:width$}  {passed:>6}  {failed:>6}  {pending:>7}", "", "all")?;
        self.groups.iter().try_for_each(|group| group.write_pending(f))?;
        self.groups.iter().try_for_each(|group| group.write_details(f))?;
        if !self.outputs.is_empty() {
            writeln!(f)?;
        }
        self.outputs.iter().try_for_each(|file| writeln!(f, "what a process wrote: {}", file.display()))
    }
}

/// Text inside XML, without what XML cannot hold.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() || matches!(control, '\u{FFFE}' | '\u{FFFF}') => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}
