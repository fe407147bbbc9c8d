//! The groups and their tests, and running them.

use std::fmt::{self, Debug, Formatter};
use std::str::FromStr;

use actors::Clock;
use anyhow::Result;
use futures_util::future::BoxFuture;
use proto::cloudstate::EntitySpec;

use super::engine::{Address, Arrangement, StartError, Tck};
use super::report::{GroupReport, Outcome, Report, TestReport};
use super::{action, crdt, discovery, event_sourced, eventing, reflection, value_entity};

/// A group of tests, pending if the user function does not serve what it needs.
#[derive(Debug)]
pub struct Group {
    /// Its number in the protocol's list.
    pub number: u8,
    /// A short name for the command line.
    pub key: &'static str,
    /// The suite's name for it.
    pub name: &'static str,
    /// Its tests, list after list, in the order they run.
    tests: &'static [&'static [Test]],
    /// Whether a proxy is involved.
    proxy: bool,
    services: &'static [&'static str],
}

/// One test.
pub struct Test {
    /// The suite's name for it.
    pub name: &'static str,
    /// Services besides the group's without which this test is pending.
    pub(super) services: &'static [&'static str],
    pub(super) run: for<'a> fn(&'a mut Tck) -> BoxFuture<'a, Result<()>>,
}

impl Debug for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Test").field(&self.name).finish()
    }
}

/// `test!(name, function)`, with the services that it needs besides the group's.
macro_rules! test {
    ($name:literal, $function:path $(, $service:expr)*) => {
        Test { name: $name, services: &[$($service),*], run: |tck| Box::pin($function(tck)) }
    };
}

/// `scripted!(Kind, name, |s| script)`, with the beginning of the entity's id if that matters.
macro_rules! scripted {
    ($kind:ty, $name:literal, $write:expr) => {
        scripted!($kind, $name, "model", $write)
    };
    ($kind:ty, $name:literal, $prefix:literal, $write:expr) => {
        Test {
            name: $name,
            services: &[],
            run: |tck| Box::pin($crate::tck::entity::play::<$kind>(tck, $prefix, $write)),
        }
    };
}

pub(super) use {scripted, test};

/// All groups in their order.
pub const GROUPS: &[Group] = &[
    Group {
        number: 1,
        key: "discovery",
        name: "verifying discovery protocol",
        tests: &[discovery::TESTS],
        proxy: true,
        services: &[],
    },
    Group {
        number: 2,
        key: "model-action",
        name: "verifying model test: action",
        tests: &[action::model::TESTS],
        proxy: false,
        services: action::SERVICES,
    },
    Group {
        number: 3,
        key: "model-value",
        name: "verifying model test: entity",
        tests: &[value_entity::model::TESTS],
        proxy: false,
        services: value_entity::SERVICES,
    },
    Group {
        number: 4,
        key: "model-event-sourced",
        name: "verifying model test: event sourced entity",
        tests: &[event_sourced::model::TESTS],
        proxy: false,
        services: event_sourced::SERVICES,
    },
    Group {
        number: 5,
        key: "model-crdt",
        name: "verifying model test: CRDT entity",
        tests: crdt::MODEL_TESTS,
        proxy: false,
        services: crdt::SERVICES,
    },
    Group {
        number: 6,
        key: "proxy-action",
        name: "verifying proxy test: action",
        tests: &[action::proxy::TESTS],
        proxy: true,
        services: action::SERVICES,
    },
    Group {
        number: 7,
        key: "proxy-value",
        name: "verifying proxy test: entity",
        tests: &[value_entity::proxy::TESTS],
        proxy: true,
        services: value_entity::SERVICES,
    },
    Group {
        number: 8,
        key: "proxy-event-sourced",
        name: "verifying proxy test: event sourced entity",
        tests: &[event_sourced::proxy::TESTS],
        proxy: true,
        services: event_sourced::SERVICES,
    },
    Group {
        number: 9,
        key: "proxy-crdt",
        name: "verifying proxy test: CRDT entity",
        tests: &[crdt::proxy::TESTS],
        proxy: true,
        services: crdt::SERVICES,
    },
    Group {
        number: 10,
        key: "reflection",
        name: "verifying proxy test: gRPC server reflection",
        tests: &[reflection::TESTS],
        proxy: true,
        services: &[],
    },
    Group {
        number: 11,
        key: "eventing",
        name: "verifying proxy test: event log subscriptions",
        tests: &[eventing::TESTS],
        proxy: true,
        services: eventing::SERVICES,
    },
];

/// One of [`GROUPS`].
#[derive(Debug, Clone, Copy)]
pub struct Chosen(pub &'static Group);

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is = |group: &&Group| group.number.to_string() == text || group.key == text || group.name == text;
        GROUPS.iter().find(is).map(Self).ok_or_else(|| {
            let known: Vec<_> = GROUPS.iter().map(|group| format!("{} or {}", group.number, group.key)).collect();
            format!("there is no such group; there are {}", known.join(", "))
        })
    }
}

/// How far a run is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The user function is there, and the proxy is waited for.
    Listening(&'a Address),
    /// A group has ended.
    Ended(&'a GroupReport),
}

/// Runs `chosen` groups, all of them if none is chosen, and tells `progress` how far it is.
///
/// Without a group that involves the proxy only the user function is needed.
///
/// # Errors
/// [`StartError`] when the tests cannot be run at all.
pub async fn run(
    arrangement: &Arrangement,
    chosen: &[Chosen],
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Report, StartError> {
    let is_chosen = |group: &&Group| chosen.is_empty() || chosen.iter().any(|one| one.0.number == group.number);
    let groups: Vec<&Group> = GROUPS.iter().filter(is_chosen).collect();
    let proxy = groups.iter().any(|group| group.proxy);
    let listening = |address: &Address| progress(Progress::Listening(address));
    let mut tck = Tck::start_telling(arrangement, proxy, listening).await?;
    let mut report = Report::default();
    for group in groups {
        let result = group.run(&mut tck).await;
        progress(Progress::Ended(&result));
        report.groups.push(result);
    }
    let passed = report.failed() == 0;
    if !passed {
        report.outputs = tck.outputs();
    }
    tck.stop(!passed).await;
    Ok(report)
}

impl Group {
    /// Its tests in the order they run.
    pub fn tests(&self) -> impl Iterator<Item = &'static Test> {
        self.tests.iter().copied().flatten()
    }

    /// Runs all tests, one after the other. A failure does not keep the ones after it from running.
    pub async fn run(&self, tck: &mut Tck) -> GroupReport {
        let (clock, mut tests) = (Clock::tokio(), Vec::new());
        for test in self.tests() {
            let started = clock.now();
            let outcome = match missing(&tck.spec, self.services.iter().chain(test.services)) {
                Some(service) => Outcome::Pending(format!("the user function does not serve {service}")),
                None => match tck.orderly(test.run).await {
                    Ok(()) => Outcome::Passed,
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                },
            };
            tests.push(TestReport { name: test.name, outcome, took: clock.now() - started });
        }
        GroupReport { number: self.number, name: self.name, tests }
    }
}

fn missing<'a>(spec: &EntitySpec, mut services: impl Iterator<Item = &'a &'static str>) -> Option<&'static str> {
    let served = |service: &str| spec.entities.iter().any(|entity| entity.service_name == service);
    services.find(|service| !served(service)).copied()
}
