//! Stories: plans as text, to be kept, changed and written by hand.
//!
//! ```text
//! # Two of three go on without the third.
//! seed 7
//! nodes 3
//! trouble 60000 ms
//! delay 50 to 60 ms
//! loss 50 of 1000
//!   5000 ms  split [0, 1, 1]
//!  35000 ms  heal all
//! ```
//! First what holds all the while, then a line for each fault: when, in milliseconds since trouble began, and what, in the
//! words of [`Fault`]'s `Display`. Faults after the end of trouble are left out. `nodes` and `trouble` must be said; what is
//! not said is as in a good network. What follows `#` is for readers.
//!
//! A [`Plan`] displays as a story. [Read](Plan::read) back it makes the same run, to the byte.

use super::{
    fault::{Fault, FaultKind},
    plan::{Plan, Planned},
};
use crate::testkit::net::NetFaults;
use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

/// Why a text is no story: which line, and what belongs there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct StoryError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// One line of a story, as [`Plan::read`] shows it to whoever cannot do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoryLine<'a> {
    /// What holds all the while, by the words with which the line begins: `loss`, for instance.
    Setting(&'a str),
    /// What is done at a moment.
    Fault(&'a Fault),
}

/// What may stand where a form has such a word: from, to, and what it is.
const PLACES: [(&str, i128, i128, &str); 9] = [
    ("SEED", 0, u64::MAX as i128, "a number"),
    ("NODES", 1, 1000, "a number from 1 to 1000"),
    ("MS", 0, 86_400_000, "a number of milliseconds, a day at most"),
    ("RATE", 0, 1000, "a number from 0 to 1000"),
    ("DEFERRALS", 0, 900, "a number from 0 to 900"),
    ("PPM", 0, 100_000, "a number from 0 to 100000"),
    ("NODE", 0, 999, "a node, such as n0"),
    ("JUMP", i64::MIN as i128, i64::MAX as i128, "a number of milliseconds, below 0 to go back"),
    ("SIDES", 0, 0, "a list as [0, 1, 1]: of each node the number of its side"),
];

// The numbers that these take are within what [`PLACES`] says.
type Set = fn(&mut Plan, &[i128]);
type Rate = fn(&mut NetFaults) -> &mut u32;
type Make = fn(&[i128]) -> Fault;

const SETTINGS: [(&str, Set); 6] = [
    ("seed SEED", |plan, of| plan.seed = of[0] as u64),
    ("nodes NODES", |plan, of| plan.nodes = of[0] as usize),
    ("trouble MS ms", |plan, of| plan.chaos = Duration::from_millis(of[0] as u64)),
    ("delay MS to MS ms", |plan, of| plan.net.delay_ms = (of[0] as u32, of[1] as u32)),
    ("deferrals DEFERRALS of 1000", |plan, of| plan.deferrals = of[0] as u32),
    ("drift PPM ppm", |plan, of| plan.drift_ppm = of[0] as u32),
];

const RATES: [(&str, Rate); 11] = [
    ("loss RATE of 1000", |net| &mut net.loss),
    ("bursts RATE of 1000", |net| &mut net.bursts),
    ("duplicates RATE of 1000", |net| &mut net.duplicates),
    ("truncations RATE of 1000", |net| &mut net.truncations),
    ("flips RATE of 1000", |net| &mut net.flips),
    ("replays RATE of 1000", |net| &mut net.replays),
    ("short io RATE of 1000", |net| &mut net.short_io),
    ("resets RATE of 1000", |net| &mut net.resets),
    ("refusals RATE of 1000", |net| &mut net.refusals),
    ("black holes RATE of 1000", |net| &mut net.black_holes),
    ("mutes RATE of 1000", |net| &mut net.mutes),
];

const FAULTS: [(&str, Make); 15] = [
    ("cut NODE -> NODE", |of| Fault::Cut(of[0] as usize, of[1] as usize)),
    ("heal all", |_| Fault::HealAll),
    ("heal NODE -> NODE", |of| Fault::Heal(of[0] as usize, of[1] as usize)),
    ("split SIDES", |of| Fault::Split(of.iter().map(|side| *side as u8).collect())),
    ("streams NODE -> NODE stand still", |of| Fault::Stall(of[0] as usize, of[1] as usize, true)),
    ("streams NODE -> NODE go on", |of| Fault::Stall(of[0] as usize, of[1] as usize, false)),
    ("connections NODE - NODE break", |of| Fault::Reset(of[0] as usize, of[1] as usize)),
    ("kill NODE", |of| Fault::Kill { node: of[0] as usize, power_off: false }),
    ("power off NODE", |of| Fault::Kill { node: of[0] as usize, power_off: true }),
    ("start NODE", |of| Fault::Start(of[0] as usize)),
    ("NODE stands still for MS ms", |of| Fault::Pause(of[0] as usize, of[1] as u64)),
    ("wall clock of NODE jumps by JUMP ms", |of| Fault::WallJump(of[0] as usize, of[1] as i64)),
    ("NODE leaves", |of| Fault::Leave(of[0] as usize)),
    ("NODE gives up NODE", |of| Fault::Down(of[0] as usize, of[1] as usize)),
    ("NODE cuts off NODE", |of| Fault::Quarantine(of[0] as usize, of[1] as usize)),
];

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, kinds: _, net, deferrals, drift_ppm, faults, chaos } = self;
        writeln!(f, "seed {seed}\nnodes {nodes}\ntrouble {} ms", chaos.as_millis())?;
        let (from, to) = net.delay_ms;
        if net.delay_ms != NetFaults::NONE.delay_ms {
            writeln!(f, "delay {from} to {to} ms")?;
        }
        let mut net = net.clone();
        let rates = RATES.map(|(form, rate)| (form, *rate(&mut net)));
        for (form, rate) in rates.into_iter().filter(|(_, rate)| *rate > 0) {
            writeln!(f, "{}", form.replace("RATE", &rate.to_string()))?;
        }
        if *deferrals > 0 {
            writeln!(f, "deferrals {deferrals} of 1000")?;
        }
        if *drift_ppm > 0 {
            writeln!(f, "drift {drift_ppm} ppm")?;
        }
        faults.iter().try_for_each(|planned| writeln!(f, "  {:>6} ms  {}", planned.at_ms, planned.fault))
    }
}

impl FromStr for Plan {
    type Err = StoryError;

    fn from_str(text: &str) -> Result<Self, StoryError> {
        Self::read(text, |_| Ok(()))
    }
}

impl Plan {
    /// Reads a story back, of which each line must be one that `fits`: for whoever cannot do everything that a simulator
    /// can. The kinds of its faults are those that they are [by themselves](Fault::kind).
    ///
    /// # Errors
    /// The first line that is none of a story or, as `fits` says, none that fits.
    pub fn read(text: &str, fits: impl Fn(StoryLine<'_>) -> Result<(), String>) -> Result<Self, StoryError> {
        let mut plan = Self::quiet(0);
        let mut said = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().into_iter().flat_map(str::split_whitespace).collect();
            let read = match words[..] {
                [] => Ok(()),
                [at, ref rest @ ..] if at.starts_with(|first: char| first.is_ascii_digit()) => {
                    plan.add_fault(at, rest, &said, &fits)
                }
                _ => plan.set(&words, &mut said, &fits),
            };
            read.map_err(|what| StoryError { line: number + 1, what })?;
        }
        let line = text.lines().count().max(1);
        complete(&said).map_err(|what| StoryError { line, what: format!("{what}, and here the story ends") })?;
        plan.kinds = FaultKind::ALL.into_iter().filter(|kind| plan.without(*kind) != plan).collect();
        Ok(plan)
    }

    fn set(
        &mut self,
        words: &[&str],
        said: &mut BTreeSet<&'static str>,
        fits: &impl Fn(StoryLine<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        if !self.faults.is_empty() {
            return Err(format!("`{}` begins no fault; what holds all the while stands before the first", words[0]));
        }
        let forms: Vec<&'static str> = SETTINGS.iter().map(|of| of.0).chain(RATES.iter().map(|of| of.0)).collect();
        let (which, numbers) = fit_one(&forms, words)?;
        let name = forms[which].split(|letter: char| letter.is_ascii_uppercase()).next().unwrap_or_default().trim();
        if !said.insert(name) {
            return Err(format!("`{name}` was said before: leave one of the lines out"));
        }
        match which.checked_sub(SETTINGS.len()) {
            None => SETTINGS[which].1(self, &numbers),
            Some(rate) => *RATES[rate].1(&mut self.net) = numbers[0] as u32,
        }
        let (from, to) = self.net.delay_ms;
        if from > to {
            return Err(format!("`{from}` is more than `{to}`: the shortest delay comes first"));
        }
        fits(StoryLine::Setting(name))
    }

    fn add_fault(
        &mut self,
        at: &str,
        words: &[&str],
        said: &BTreeSet<&'static str>,
        fits: &impl Fn(StoryLine<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        complete(said)?;
        let ["ms", words @ ..] = words else {
            let found = words.first().map_or(String::new(), |word| format!(", and not `{word}`"));
            return Err(format!("`ms` belongs behind `{at}`{found}"));
        };
        let at_ms = place("MS", at)? as u64;
        let before = self.faults.last().map_or(0, |planned| planned.at_ms);
        if at_ms < before {
            return Err(format!("`{at}` comes after {before} ms: put the lines in the order of time"));
        }
        let (which, numbers) = fit_one(&FAULTS.map(|of| of.0), words)?;
        let fault = FAULTS[which].1(&numbers);
        self.check(&fault)?;
        fits(StoryLine::Fault(&fault))?;
        self.faults.push(Planned { at_ms, kind: fault.kind(), fault });
        Ok(())
    }

    /// Whether all whom it is about are there.
    fn check(&self, fault: &Fault) -> Result<(), String> {
        let of = fault.nodes();
        if let Some(node) = of.iter().find(|node| **node >= self.nodes) {
            return Err(format!("`n{node}` is not there: nodes are n0 to n{}", self.nodes - 1));
        }
        if let [one, two] = of[..]
            && one == two
        {
            return Err(format!("`n{one}` is named twice: two nodes belong here"));
        }
        match fault {
            Fault::Split(sides) if sides.len() != self.nodes => {
                let (has, nodes) = (sides.len(), self.nodes);
                Err(format!("`{sides:?}` has {has} numbers: each of the {nodes} nodes must have one"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether all that must be said was.
fn complete(said: &BTreeSet<&str>) -> Result<(), String> {
    let missing =
        SETTINGS[1..3].iter().find(|(form, _)| !form.split(' ').next().is_some_and(|name| said.contains(name)));
    missing.map_or(Ok(()), |(form, _)| Err(format!("`{form}` must be said before the first fault")))
}

/// Which of `forms` the words have, and the numbers in them; or why the form that fits longest does not fit.
fn fit_one(forms: &[&str], words: &[&str]) -> Result<(usize, Vec<i128>), String> {
    let mut nearest = (0, String::new());
    for (which, form) in forms.iter().enumerate() {
        match fit(form, words) {
            Ok(numbers) => return Ok((which, numbers)),
            Err((at, what)) if at > nearest.0 => nearest = (at, format!("{what}, in `{form}`")),
            Err(_) => {}
        }
    }
    Err(match (nearest, words) {
        ((0, _), [first, ..]) => format!("`{first}` begins no line; there are: {}", forms.join(", ")),
        ((0, _), []) => format!("nothing is said; there are: {}", forms.join(", ")),
        ((_, what), _) => what,
    })
}

/// Or up to which word they fit, and what is wrong there.
fn fit(form: &str, words: &[&str]) -> Result<Vec<i128>, (usize, String)> {
    let mut numbers = Vec::new();
    let mut count = 0;
    for (at, wanted) in form.split(' ').enumerate() {
        let Some(word) = words.get(at) else { return Err((at, format!("`{wanted}` is missing at the end"))) };
        count = at + 1;
        if wanted == "SIDES" {
            numbers = sides(&words[at..].join(" ")).map_err(|what| (at, what))?;
            count = words.len();
        } else if PLACES.iter().any(|place| place.0 == wanted) {
            numbers.push(place(wanted, word).map_err(|what| (at, what))?);
        } else if *word != wanted {
            return Err((at, format!("`{word}` stands where `{wanted}` belongs")));
        }
    }
    match words.get(count) {
        Some(word) => Err((count, format!("`{word}` is too much"))),
        None => Ok(numbers),
    }
}

/// The number that `word` is, where a form has `name`.
fn place(name: &str, word: &str) -> Result<i128, String> {
    let digits = if name == "NODE" { word.strip_prefix('n') } else { Some(word) };
    let number: Option<i128> = digits.and_then(|digits| digits.parse().ok());
    let place = PLACES.iter().find(|place| place.0 == name);
    let what = place.map_or("", |place| place.3);
    number
        .filter(|number| place.is_some_and(|(_, from, to, _)| (from..=to).contains(&number)))
        .ok_or_else(|| format!("`{word}` stands where {what} belongs"))
}

fn sides(text: &str) -> Result<Vec<i128>, String> {
    let numbers = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let numbers =
        numbers.map(|text| text.split(',').map(|number| number.trim().parse::<u8>().map(i128::from)).collect());
    match numbers {
        Some(Ok(numbers)) => Ok(numbers),
        _ => Err(format!("`{text}` stands where {} belongs", PLACES[8].3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::chaos::{RunOptions, run};

    #[test]
    fn a_plan_that_was_written_is_read_as_the_same() {
        for seed in 0..500 {
            let plan = Plan::of(seed);
            let mut read: Plan = plan.to_string().parse().unwrap();
            // A part of a fault of another kind does not say so.
            read.kinds.clone_from(&plan.kinds);
            read.faults.iter_mut().zip(&plan.faults).for_each(|(read, planned)| read.kind = planned.kind);
            assert_eq!(read, plan);
        }
    }

    #[test]
    fn a_plan_that_was_read_runs_as_the_one_that_was_written() {
        for seed in [2, 3] {
            let options = RunOptions { traced: true, ..RunOptions::default() };
            let plan = Plan::of(seed);
            let (one, two) = (run(&plan, &options), run(&plan.to_string().parse().unwrap(), &options));
            assert!(one.trace.len() > 50_000 && one.trace == two.trace, "seed {seed} is another story");
            assert_eq!((one.hash, one.simulated), (two.hash, two.simulated));
        }
    }

    #[test]
    fn what_is_wrong_in_a_story_is_named_with_its_line_and_what_belongs_there() {
        let head = "# a story\nnodes 3\ntrouble 60000 ms\n";
        let wrong = [
            ("los 5 of 1000", "line 4: `los` begins no line; there are: seed SEED, nodes NODES"),
            ("loss 5", "line 4: `of` is missing at the end, in `loss RATE of 1000`"),
            (
                "loss 1001 of 1000",
                "line 4: `1001` stands where a number from 0 to 1000 belongs, in `loss RATE of 1000`",
            ),
            ("loss 5 of 1000\nloss 6 of 1000", "line 5: `loss` was said before"),
            ("delay 60 to 50 ms", "line 4: `60` is more than `50`"),
            ("deferrals 901 of 1000", "line 4: `901` stands where a number from 0 to 900 belongs"),
            ("5 s kill n0", "line 4: `ms` belongs behind `5`, and not `s`"),
            ("5 ms", "line 4: nothing is said; there are: cut NODE -> NODE, heal all"),
            ("5 ms kil n0", "line 4: `kil` begins no line; there are: cut NODE -> NODE"),
            ("5 ms kill 0", "line 4: `0` stands where a node, such as n0 belongs, in `kill NODE`"),
            ("5 ms kill n3", "line 4: `n3` is not there: nodes are n0 to n2"),
            ("5 ms kill n1 now", "line 4: `now` is too much, in `kill NODE`"),
            ("5 ms cut n1 -> n1", "line 4: `n1` is named twice"),
            ("5 ms cut n1 - n0", "line 4: `-` stands where `->` belongs, in `cut NODE -> NODE`"),
            ("5 ms streams n0 -> n1 stop", "line 4: `stop` stands where `stand` belongs"),
            ("5 ms split [0, 1]", "line 4: `[0, 1]` has 2 numbers: each of the 3 nodes must have one"),
            ("5 ms split 0 1 1", "line 4: `0 1 1` stands where a list as [0, 1, 1]"),
            ("\n5 ms heal all\n4 ms heal all", "line 6: `4` comes after 5 ms"),
            ("5 ms heal all\nloss 5 of 1000", "line 5: `loss` begins no fault"),
            ("90000000 ms heal all", "line 4: `90000000` stands where a number of milliseconds"),
        ];
        for (rest, told) in wrong {
            let error = format!("{head}{rest}").parse::<Plan>().unwrap_err().to_string();
            assert!(error.starts_with(told), "{rest}: {error}");
        }
        for (text, told) in [
            ("", "line 1: `nodes NODES` must be said before the first fault, and here the story ends"),
            ("nodes 3\nseed 5", "line 2: `trouble MS ms` must be said"),
            ("trouble 5 ms\n5 ms kill n0", "line 2: `nodes NODES` must be said"),
            ("nodes 0", "line 1: `0` stands where a number from 1 to 1000 belongs"),
        ] {
            let error = text.parse::<Plan>().unwrap_err().to_string();
            assert!(error.starts_with(told), "{text}: {error}");
        }
        let fits = |line: StoryLine<'_>| match line {
            StoryLine::Setting("loss") | StoryLine::Fault(Fault::Leave(_)) => Err("not here".to_owned()),
            _ => Ok(()),
        };
        for rest in ["loss 5 of 1000", "5 ms n0 leaves"] {
            let error = Plan::read(&format!("{head}{rest}"), fits).unwrap_err();
            assert_eq!(error, StoryError { line: 4, what: "not here".to_owned() });
        }
        assert!(Plan::read(&format!("{head}flips 5 of 1000\n5 ms kill n0"), fits).is_ok());
    }

    /// Those that real processes go through as well, which `scripts/partitions` has them do.
    const KEPT: [&str; 3] = [
        include_str!("../../../examples/nodes/stories/partition.story"),
        include_str!("../../../examples/nodes/stories/stall.story"),
        include_str!("../../../examples/nodes/stories/rolling.story"),
    ];

    #[test]
    fn nothing_breaks_in_the_stories_that_are_kept() {
        for text in KEPT {
            let plan: Plan = text.parse().unwrap();
            let outcome = run(&plan, &RunOptions::default());
            assert!(outcome.failure.is_none() && outcome.agreed_after.is_some(), "{plan}{:?}", outcome.failure);
        }
    }
}
