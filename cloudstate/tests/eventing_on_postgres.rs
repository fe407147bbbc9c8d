//! Consumers of events on PostgreSQL, in sidecars of their own: killed, beside each other, and with events that are parked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use cloudstate::config::{ProxyConfig, Secret, StoreLocation};
use cloudstate::store::Store;
use persistence::testkit::{PostgresServer, PostgresServerOptions};
use persistence::{PersistenceId, ProjectionId, Selection};

use crate::admin;
use crate::cart_client::CartClient;
use crate::eventing::{Log, OF_CART, next_text, run_command, subscribers, text_of, until_parked};
use crate::process::{Sidecar, free_port};
use crate::scripted::{ScriptedFunction, soon};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| {
    PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"))
});

/// A store of its own, and an action that takes the events of carts.
struct Scene {
    url: String,
    store: Store,
    function: ScriptedFunction,
}

impl Scene {
    async fn new() -> Self {
        let database = tokio::task::block_in_place(|| SERVER.create_database().expect("a database"));
        let url = SERVER.url(&database);
        let mut config = ProxyConfig::default().store;
        config.location = StoreLocation::Postgres(Secret::new(&url));
        let store = Store::open(&config).await.expect("opened");
        let function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
        Self { url, store, function }
    }

    /// A sidecar that serves, its management port, and the log of cart "a", which is the test's again.
    async fn start(&self) -> (Sidecar, u16, Log) {
        let (port, management) = (free_port(), free_port());
        let sidecar = Sidecar::start_with(&self.url, port, self.function.port, |command| {
            let settings = ["eventing.attempts-max=2", "eventing.backoff-min=5ms", "eventing.backoff-max=20ms"];
            command.args(settings.iter().flat_map(|setting| ["--set", setting]));
            command.env("MANAGEMENT_PORT", management.to_string());
        });
        CartClient::new(port).reconnect().await;
        (sidecar, management, Log::of(&self.store, "cart", "a").await)
    }

    /// Waits until the saved offset is that of this event of cart "a".
    async fn until_saved(&self, seq_nr: u64) {
        let events = self.store.events.as_ref().expect("with events");
        let id = PersistenceId::of("cart", "a");
        let expected = events.feed.offset_of(id, seq_nr).await.expect("read").expect("it is there");
        let mail = ProjectionId { group: "shop.Mail".into(), source: "cart".into() };
        let saved = async {
            loop {
                let found = events.projections.positions(Selection::of(&mail)).await.expect("read");
                if found.first().is_some_and(|position| position.offset >= expected) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the saving of the offset", saved).await;
    }

    fn events(&self, words: &[&str]) -> (Option<i32>, String) {
        let store = format!("--store={}", self.url);
        tokio::task::block_in_place(|| run_command(&[words, &[&*store, "--management-port=off"]].concat()))
    }
}

/// How many consumers the sidecar with this management port runs.
async fn consumers(management: u16) -> usize {
    let (_, json) = admin::get(SocketAddr::from((Ipv4Addr::LOCALHOST, management)), "/events/consumers").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    json["consumers"].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_a_consumer_goes_on_at_its_saved_offset() {
    let mut scene = Scene::new().await;
    let (mut sidecar, _, log) = scene.start().await;
    log.texts(&["1", "2", "3"]).await;
    for text in ["1", "2", "3"] {
        assert_eq!(next_text(&mut scene.function).await, text);
    }
    scene.until_saved(3).await;
    log.texts(&["4"]).await;
    let in_flight = scene.function.action().await;
    assert_eq!(text_of(&in_flight.command), "4");
    sidecar.kill();
    log.texts(&["5"]).await;

    let (_sidecar, _, log) = scene.start().await;
    log.texts(&["6"]).await;
    for text in ["4", "5", "6"] {
        assert_eq!(next_text(&mut scene.function).await, text, "what was done is not done again, what was not is");
    }
    scene.until_saved(6).await;
    assert!(scene.function.has_no_action());
}

/// Asked for while no sidecar runs it is done by the next one, and while one runs by that: nobody has to tell it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_event_is_tried_again_whoever_asks() {
    let mut scene = Scene::new().await;
    let (mut sidecar, _, log) = scene.start().await;
    log.texts(&["poison", "next"]).await;
    let fail_twice = async |function: &mut ScriptedFunction, why: &str| {
        for _ in 0..2 {
            let action = function.action().await;
            assert_eq!(text_of(&action.command), "poison", "the next one of the entity waits");
            action.fail(why);
        }
    };
    fail_twice(&mut scene.function, "cannot digest this").await;
    assert_eq!(next_text(&mut scene.function).await, "next");
    until_parked(&scene.store, 1).await;
    scene.until_saved(2).await;
    sidecar.kill();

    let (code, listed) = scene.events(&["parked"]);
    assert_eq!(code, Some(0), "{listed}");
    assert!(listed.contains("entity \"a\" event 1, 2 attempts: cannot digest this"), "{listed}");
    let (code, asked) = scene.events(&["replay", "--all"]);
    assert_eq!(code, Some(0), "{asked}");
    assert!(asked.starts_with("1 event to be tried again: by a sidecar that runs"), "{asked}");

    let (_sidecar, _, log) = scene.start().await;
    fail_twice(&mut scene.function, "still not").await;
    let again = async {
        while until_parked(&scene.store, 1).await[0].attempts != 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the parking of the event again", again).await;
    log.texts(&["last"]).await;
    assert_eq!(next_text(&mut scene.function).await, "last", "nobody waits for what is parked");
    assert_eq!(scene.events(&["replay", "--group=shop.Mail"]).0, Some(0));
    assert_eq!(next_text(&mut scene.function).await, "poison");
    until_parked(&scene.store, 0).await;
    assert_eq!(scene.events(&["parked"]), (Some(0), "no event is parked\n".to_owned()));
}

/// The newest consumes; the one before finds out and stops. Around the change an event may come twice, none is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_sidecars_the_newest_consumes() {
    let mut scene = Scene::new().await;
    let (_first, at_first, log) = scene.start().await;
    log.texts(&["1"]).await;
    assert_eq!(next_text(&mut scene.function).await, "1");
    scene.until_saved(1).await;
    let (mut second, at_second, log) = scene.start().await;
    log.texts(&["2"]).await;
    assert_eq!(next_text(&mut scene.function).await, "2");
    // Both may have read it. Whoever is late must not move the offset, nor go on.
    let changed = async {
        loop {
            if consumers(at_first).await == 0 {
                return;
            }
            while !scene.function.has_no_action() {
                assert_eq!(next_text(&mut scene.function).await, "2");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the end of the first consumer", changed).await;
    scene.until_saved(2).await;
    assert_eq!(consumers(at_second).await, 1);

    log.texts(&["3", "4", "5"]).await;
    for text in ["3", "4", "5"] {
        assert_eq!(next_text(&mut scene.function).await, text);
    }
    scene.until_saved(5).await;
    assert!(scene.function.has_no_action(), "each came once");
    second.kill();
    log.texts(&["6"]).await;
    let (_third, _, _) = scene.start().await;
    assert_eq!(next_text(&mut scene.function).await, "6");
}
