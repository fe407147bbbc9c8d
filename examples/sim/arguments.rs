//! [`Arguments`]: what the command line asks for.

use anyhow::{Context, bail};
use std::time::Duration;

pub(crate) const HELP: &str = "\
cargo sim [--seed N] [--count N] [--trace] [--minimize] [--until SECONDS]

  --seed N         the first seed; default 0
  --count N        how many seeds; default 1
  --trace          print everything that happens
  --minimize       for a seed that fails, look for the least trouble that breaks the same promise
  --until SECONDS  stop each run after so much simulated time";

#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) seed: u64,
    pub(crate) count: u64,
    pub(crate) trace: bool,
    pub(crate) minimize: bool,
    pub(crate) until: Option<Duration>,
}

impl Arguments {
    /// None: help is asked for.
    pub(crate) fn read(words: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut read = Self { seed: 0, count: 1, trace: false, minimize: false, until: None };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let mut number = || {
                let next = words.next().with_context(|| format!("{word} needs a number"))?;
                next.parse::<u64>().with_context(|| format!("{word} needs a number, not {next:?}"))
            };
            match word.as_str() {
                "--seed" => read.seed = number()?,
                "--count" => read.count = number()?,
                "--until" => read.until = Some(Duration::from_secs(number()?)),
                "--trace" => read.trace = true,
                "--minimize" => read.minimize = true,
                "--help" | "-h" => return Ok(None),
                _ => bail!("{word}: unknown; `cargo sim --help` tells what there is"),
            }
        }
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> anyhow::Result<Option<Arguments>> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_written_is_read_and_what_is_wrong_is_named() {
        let all = read("--seed 7 --count 3 --trace --minimize --until 12").unwrap().unwrap();
        let until = Some(Duration::from_secs(12));
        assert_eq!(all, Arguments { seed: 7, count: 3, trace: true, minimize: true, until });
        assert_eq!(read("--help").unwrap(), None);
        for (line, told) in [("--seed", "--seed needs"), ("--count x", "--count needs"), ("--sed 1", "--sed: unknown")]
        {
            assert!(read(line).unwrap_err().to_string().contains(told), "{line}");
        }
    }
}
