//! A long mixed load over all four kinds of services, with the user function killed again and again: nothing
//! acknowledged is lost, nothing gets stuck, memory does not grow, and no stream is left that nobody owns.
//!
//! Part of the long command (`scripts/test --long`): `SOAK_MINUTES` says how long, half an hour if it does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::model::tck;
use proto::model::tck::action::action_tck_model_client::ActionTckModelClient;
use proto::model::tck::crdt::crdt_tck_model_client::CrdtTckModelClient;
use proto::model::tck::event_sourced_tck_model_client::EventSourcedTckModelClient;
use proto::model::tck::valueentity::value_entity_tck_model_client::ValueEntityTckModelClient;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Function, Sidecar, free_port};

/// Clients of each kind.
const CLIENTS: usize = 8;

/// Between two kills of the function.
const KILL_EVERY: Duration = Duration::from_secs(10);

/// Longest time without any answer to one client.
const STUCK: Duration = Duration::from_secs(60);

/// Changes to one entity before the client goes on to the next: the model's state is a text that grows.
const CHANGES_EACH: usize = 200;

#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of the long command"]
async fn half_an_hour_of_everything() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(30.0);
    let duration = Duration::from_secs_f64(60.0 * minutes);
    let folder = tempfile::tempdir().expect("a folder");
    let (function_port, http_port, metrics_port) = (free_port(), free_port(), free_port());
    let mut function = model_function(function_port);
    let store = format!("sqlite:{}", folder.path().display());
    let sidecar = Sidecar::start_with(&store, http_port, function_port, |command| {
        command.env("METRICS_PORT", metrics_port.to_string()).env("METRICS_HOST", "127.0.0.1");
        // Full soon: what the store caches grows with what is stored, and is not what is looked for here.
        command.env("CLOUDSTATE_SQLITE_CACHE_SIZE", "4M");
        for kind in ["EVENTSOURCED", "VALUE", "CRDT"] {
            command.env(format!("CLOUDSTATE_{kind}_ENTITY_PASSIVATION_TIMEOUT"), "2s");
        }
    });
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{http_port}")).expect("an address").connect_lazy();
    let (stop, stopped) = watch::channel(false);
    let counts: BTreeMap<&str, Arc<Counts>> =
        ["event sourced", "value", "crdt", "action"].into_iter().map(|kind| (kind, Arc::default())).collect();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        for (kind, counts) in &counts {
            let client = Client {
                channel: channel.clone(),
                prefix: format!("soak-{number}"),
                random: StdRng::seed_from_u64(number as u64),
                counts: counts.clone(),
                stopped: stopped.clone(),
            };
            clients.push(match *kind {
                "event sourced" => tokio::spawn(client.event_sourced()),
                "value" => tokio::spawn(client.value()),
                "crdt" => tokio::spawn(client.crdt()),
                _ => tokio::spawn(client.action()),
            });
        }
    }

    let begin = Instant::now();
    let mut memory = Vec::new();
    while begin.elapsed() < duration && !clients.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(KILL_EVERY).await;
        memory.push(resident(sidecar.id()));
        function.kill();
        function = model_function(function_port);
    }
    stop.send_replace(true);
    for client in clients {
        let ended = tokio::time::timeout(STUCK * 2, client).await.expect("a client does not end");
        ended.expect("a client found something wrong");
    }
    for (kind, Counts { acknowledged, failed }) in counts.iter().map(|(kind, counts)| (kind, &**counts)) {
        let acknowledged = acknowledged.load(Ordering::Relaxed);
        eprintln!("{kind}: {acknowledged} acknowledged, {} failed", failed.load(Ordering::Relaxed));
        assert!(acknowledged > 0, "{kind}");
    }

    // A third of the time is warm-up; after it the median of the last third may not be above that of the middle.
    let median = |samples: &[u64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    let third = memory.len() / 3;
    assert!(third > 0, "{} samples are too few to see whether memory grows", memory.len());
    let (middle, last) = (median(&memory[third..2 * third]), median(&memory[2 * third..]));
    eprintln!("resident: {:?} MB, middle {} MB, last {} MB", megabytes(&memory), middle >> 20, last >> 20);
    assert!(last <= middle + middle / 10 + (8 << 20), "memory grows");

    // Idle entities go, and with them every stream.
    tokio::time::timeout(STUCK, async {
        loop {
            let open = open_entities(metrics_port).await;
            if open.values().all(|count| *count == 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("entities are still open although nobody calls them");
}

/// The model function that the long command built: the Go SDK's, or the one that `SOAK_FUNCTION` names.
fn model_function(port: u16) -> Function {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk/go/tck_eventsourced");
    let binary = std::env::var_os("SOAK_FUNCTION").map_or(default, Into::into);
    assert!(binary.exists(), "{} is missing: run `scripts/sdk-functions` first", binary.display());
    let mut command = Command::new(binary);
    command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
    Function::run(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn megabytes(samples: &[u64]) -> Vec<u64> {
    samples.iter().step_by((samples.len() / 12).max(1)).map(|bytes| bytes >> 20).collect()
}

/// Resident memory of a process, in bytes.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the sidecar runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") << 10
}

/// Activated less passivated, by kind.
async fn open_entities(port: u16) -> BTreeMap<String, i64> {
    let (_, text) = crate::admin::get(([127, 0, 0, 1], port).into(), "/metrics").await;
    let mut open = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let count = value.parse::<f64>().unwrap_or_default() as i64;
        for (series, sign) in [("_activated_entities_total", 1), ("_passivated_entities_total", -1)] {
            if let Some((kind, _)) = name.split_once(series) {
                *open.entry(kind.to_owned()).or_default() += sign * count;
            }
        }
    }
    open
}

/// One client: it knows what it has done and what it has been told.
struct Client {
    channel: Channel,
    prefix: String,
    random: StdRng,
    counts: Arc<Counts>,
    stopped: watch::Receiver<bool>,
}

impl Client {
    fn goes_on(&self) -> bool {
        !*self.stopped.borrow()
    }

    /// Calls until there is an answer; the number of calls whose outcome is not known is counted in `unknown`.
    async fn until_answered<T, F>(&self, unknown: &mut u64, mut call: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let answered = async {
            loop {
                match call().await {
                    Ok(answer) => {
                        self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                        return answer;
                    }
                    Err(_) => {
                        *unknown += 1;
                        self.counts.failed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        tokio::time::timeout(STUCK, answered).await.unwrap_or_else(|_| panic!("{} is stuck", self.prefix))
    }

    /// Appends tokens: the acknowledged ones are there once each and in order; those of failed calls may be there.
    async fn event_sourced(mut self) {
        let client = EventSourcedTckModelClient::new(self.channel.clone());
        for entity in 0.. {
            let id = format!("{}-{entity}", self.prefix);
            let mut state = String::new();
            for change in 0..CHANGES_EACH {
                if !self.goes_on() {
                    return;
                }
                let token = format!("<{change}>");
                let emits = self.random.random_bool(0.7);
                let emit = tck::request_action::Action::Emit(tck::Emit { value: token.clone() });
                let actions = emits.then_some(tck::RequestAction { action: Some(emit) }).into_iter().collect();
                let request = tck::Request { id: id.clone(), actions };
                let mut unknown = 0;
                let seen = self
                    .until_answered(&mut unknown, || {
                        let (mut client, request) = (client.clone(), request.clone());
                        async move { Ok(client.process(request).await?.into_inner().message) }
                    })
                    .await;
                let added = seen.strip_prefix(&state).unwrap_or_else(|| panic!("{id}: {state} is not in {seen}"));
                let times = added.matches(&token).count() as u64;
                assert_eq!(added.len(), token.len() * times as usize, "{id}: {added} is not only {token}");
                let expected = if emits { 1..=1 + unknown } else { 0..=0 };
                assert!(expected.contains(&times), "{id}: {token} is there {times} times after {unknown} failures");
                state = seen;
            }
        }
    }

    /// Sets a value: it is the last one that was acknowledged.
    async fn value(mut self) {
        use tck::valueentity::{Delete, Request, RequestAction, Update, request_action::Action};
        let client = ValueEntityTckModelClient::new(self.channel.clone());
        let id = self.prefix.clone();
        let mut value = String::new();
        for change in 0.. {
            if !self.goes_on() {
                return;
            }
            let action = match self.random.random_range(0..10) {
                0 => Some(Action::Delete(Delete {})),
                1..=6 => Some(Action::Update(Update { value: format!("value {change}") })),
                _ => None,
            };
            let expected = match &action {
                Some(Action::Update(update)) => update.value.clone(),
                Some(_) => String::new(),
                None => value.clone(),
            };
            let actions = action.map(|action| RequestAction { action: Some(action) }).into_iter().collect();
            let request = Request { id: id.clone(), actions };
            let seen = self
                .until_answered(&mut 0, || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move { Ok(client.process(request).await?.into_inner().message) }
                })
                .await;
            assert_eq!(seen, expected, "{id}");
            value = seen;
        }
    }

    /// Increments a counter: it has grown by one for each answer, and by at most one for each failure.
    async fn crdt(mut self) {
        use tck::crdt::{GCounterUpdate, Request, RequestAction, Update, request_action, update};
        let client = CrdtTckModelClient::new(self.channel.clone());
        let id = format!("GCounter-{}", self.prefix);
        let mut value = 0;
        while self.goes_on() {
            let increments = self.random.random_bool(0.7);
            let update = Some(update::Update::Gcounter(GCounterUpdate { increment: 1 }));
            let update = Update { update, ..Update::default() };
            let action = RequestAction { action: Some(request_action::Action::Update(update)) };
            let request = Request { id: id.clone(), actions: increments.then_some(action).into_iter().collect() };
            let mut unknown = 0;
            let seen = self
                .until_answered(&mut unknown, || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move {
                        let state = client.process(request).await?.into_inner().state;
                        match state.and_then(|state| state.value) {
                            Some(tck::crdt::state::Value::Gcounter(counter)) => Ok(counter.value),
                            other => panic!("not a counter: {other:?}"),
                        }
                    }
                })
                .await;
            let expected = if increments { value + 1..=value + 1 + unknown } else { value..=value + unknown };
            assert!(expected.contains(&seen), "{id}: {seen} after {value}, {unknown} failures");
            value = seen;
        }
    }

    /// Unary and streamed calls: the answers are those of their own requests.
    async fn action(mut self) {
        use tck::action::{ProcessGroup, ProcessStep, Reply, Request, Response, process_step::Step};
        let client = ActionTckModelClient::new(self.channel.clone());
        for number in 0.. {
            if !self.goes_on() {
                return;
            }
            let texts: Vec<String> =
                (0..self.random.random_range(1..5)).map(|part| format!("{number}-{part}")).collect();
            let group = |text: &String| ProcessGroup {
                steps: vec![ProcessStep { step: Some(Step::Reply(Reply { message: text.clone() })) }],
            };
            let request = Request { groups: texts.iter().map(group).collect() };
            let streamed = self.random.random_bool(0.5);
            let seen: Vec<String> = self
                .until_answered(&mut 0, || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move {
                        if !streamed {
                            return Ok(vec![client.process_unary(request).await?.into_inner().message]);
                        }
                        let mut replies = client.process_streamed_out(request).await?.into_inner();
                        let mut seen = Vec::new();
                        while let Some(Response { message }) = replies.message().await? {
                            seen.push(message);
                        }
                        Ok(seen)
                    }
                })
                .await;
            let expected = if streamed { texts } else { texts.last().cloned().into_iter().collect() };
            assert_eq!(seen, expected);
        }
    }
}
