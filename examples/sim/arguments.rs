//! [`Arguments`]: what the command line asks for.

use anyhow::{Context, bail};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    time::Duration,
};

pub(crate) const HELP: &str = "\
cargo sim [--seed N | --random] [--count N] [--seconds N] [--trace] [--minimize] [--until SECONDS]
          [--known PROMISE] [--write FILE]
cargo sim --story FILE [--trace] [--minimize] [--until SECONDS] [--known PROMISE] [--write FILE]
cargo sim figures --help         how long clusters take to notice a crash and to go on

  --seed N         the first seed; default 0
  --random         draw the first seed, and print it
  --count N        how many seeds; default 1, and with --seconds as many as fit
  --seconds N      begin no other seed after so much time
  --trace          print everything that happens; with --minimize, in the least run that fails
  --minimize       for a seed that fails, look for the least trouble that breaks the same promise
  --until SECONDS  stop each run after so much simulated time
  --known PROMISE  a seed that breaks this promise, such as M2, is told and counted like others and does not make it fail
  --story FILE     run the story in that file, which says all that goes wrong, instead of one drawn from a seed
  --write FILE     keep what goes wrong as a story; with --minimize, if it fails, the least that does

Seeds that end with 00 are run twice, and fail if the two runs differ.";

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) seed: u64,
    /// None: as many as fit into `seconds`.
    pub(crate) count: Option<u64>,
    pub(crate) seconds: Option<Duration>,
    pub(crate) trace: bool,
    pub(crate) minimize: bool,
    pub(crate) until: Option<Duration>,
    pub(crate) known: Option<String>,
    pub(crate) story: Option<PathBuf>,
    pub(crate) write: Option<PathBuf>,
}

impl Arguments {
    /// None: help is asked for.
    pub(crate) fn read(words: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut read = Self::default();
        let (mut given, mut random) = (false, false);
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let mut number = || {
                let next = words.next().with_context(|| format!("{word} needs a number"))?;
                next.parse::<u64>().with_context(|| format!("{word} needs a number, not {next:?}"))
            };
            match word.as_str() {
                "--known" => read.known = Some(words.next().context("--known needs a promise, such as M2")?),
                "--story" => read.story = Some(words.next().context("--story needs a file")?.into()),
                "--write" => read.write = Some(words.next().context("--write needs a file")?.into()),
                "--seed" => (read.seed, given) = (number()?, true),
                "--random" => (read.seed, random) = (drawn(), true),
                "--count" => read.count = Some(number()?),
                "--seconds" => read.seconds = Some(Duration::from_secs(number()?)),
                "--until" => read.until = Some(Duration::from_secs(number()?)),
                "--trace" => read.trace = true,
                "--minimize" => read.minimize = true,
                "--help" | "-h" => return Ok(None),
                _ => bail!("{word}: unknown; `cargo sim --help` tells what there is"),
            }
        }
        if given && random {
            bail!("--random draws a seed and --seed gives one: leave one of them out");
        }
        if read.story.is_some() && (given || random || read.count.is_some() || read.seconds.is_some()) {
            bail!("--story is one run with a seed of its own: leave --seed, --random, --count and --seconds out");
        }
        if read.seconds.is_none() {
            read.count.get_or_insert(1);
        }
        if read.write.is_some() && !read.is_one() {
            bail!("--write keeps one story: leave --count and --seconds out");
        }
        Ok(Some(read))
    }

    /// Whether there is one run to look at closely.
    pub(crate) fn is_one(&self) -> bool {
        self.count == Some(1)
    }
}

/// Small enough to be read out; as random as hash maps are.
fn drawn() -> u64 {
    u64::from(RandomState::new().build_hasher().finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> anyhow::Result<Option<Arguments>> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_written_is_read_and_what_is_wrong_is_named() {
        let all = read("--seed 7 --count 3 --seconds 60 --trace --minimize --until 12").unwrap().unwrap();
        let (seconds, until) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(12)));
        assert_eq!(
            all,
            Arguments { seed: 7, count: Some(3), seconds, trace: true, minimize: true, until, ..Arguments::default() }
        );
        assert_eq!(read("--known M2").unwrap().unwrap().known.as_deref(), Some("M2"));
        assert!(read("--known").is_err());
        let kept = read("--story one --write two").unwrap().unwrap();
        assert_eq!((kept.story, kept.write, kept.count), (Some("one".into()), Some("two".into()), Some(1)));
        assert_eq!(read("--seed 7").unwrap().unwrap().count, Some(1));
        assert_eq!(read("--random --seconds 60").unwrap().unwrap().count, None, "as many as fit");
        assert_eq!(read("--help").unwrap(), None);
        let wrong = [
            ("--seed", "--seed needs"),
            ("--count x", "--count needs"),
            ("--sed 1", "--sed: unknown"),
            ("--seed 1 --random", "leave one"),
            ("--story", "--story needs"),
            ("--story one --seed 1", "leave --seed"),
            ("--story one --count 1", "leave --seed"),
            ("--write one --count 2", "--write keeps one"),
            ("--write one --seconds 2", "--write keeps one"),
        ];
        for (line, told) in wrong {
            assert!(read(line).unwrap_err().to_string().contains(told), "{line}");
        }
    }
}
