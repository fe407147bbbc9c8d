//! Wallets with a read model: events are what is true, a table made of them is what is asked.
//!
//! ```text
//! cargo run -p examples --example wallet_server -- FOLDER 8080
//! curl -X POST 127.0.0.1:8080/wallets/ada/deposit/500     # {"balance":500,"number":1}
//! curl '127.0.0.1:8080/richest?after=ada:1'               # [{"wallet":"ada","cents":500,"changes":1}]
//! ```
//!
//! Each wallet is an event-sourced actor. A projection adds its events up in a table of a database of its own, with its
//! place in the same transaction: kill the program at any moment, and no event is lost or counted twice. Who has just
//! written asks with what the write answered, and sees it.

#![expect(clippy::print_stdout, reason = "a program for people to watch")]

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, BoxError, Handled, ReplyTo};
use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use persistence::{
    Coded, Effect, EventSourced, EventSourcedBehavior, FeedEvent, FeedQuery, MessagePack, PersistenceId, Projection,
    Projections, SqliteOptions, SqliteReadModel, SqliteStore, rusqlite::Transaction,
};
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::net::TcpListener;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

// The wallet: what may happen, and what has.

struct WalletEntity {
    id: PersistenceId,
}

enum WalletCommand {
    Deposit { cents: u64, reply_to: ReplyTo<Changed> },
    Withdraw { cents: u64, reply_to: ReplyTo<Option<Changed>> },
}

#[derive(Clone, Serialize, Deserialize)]
enum WalletEvent {
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

/// What a change answers: the balance, and the number under which it was stored.
#[derive(Serialize)]
struct Changed {
    balance: u64,
    number: u64,
}

impl EventSourced for WalletEntity {
    type Command = WalletCommand;
    type Event = WalletEvent;
    type State = u64;

    fn persistence_id(&self) -> PersistenceId {
        self.id.clone()
    }

    fn handle_command(&self, cents_there: &u64, command: WalletCommand) -> Effect<Self> {
        match command {
            WalletCommand::Deposit { cents, reply_to } => Effect::persist(WalletEvent::Deposited { cents })
                .then_reply_at(reply_to, |balance, number| Changed { balance: *balance, number }),
            WalletCommand::Withdraw { cents, reply_to } if cents > *cents_there => Effect::reply(reply_to, None),
            WalletCommand::Withdraw { cents, reply_to } => Effect::persist(WalletEvent::Withdrawn { cents })
                .then_reply_at(reply_to, |balance, number| Some(Changed { balance: *balance, number })),
        }
    }

    fn handle_event(cents_there: &mut u64, event: &WalletEvent) {
        match event {
            WalletEvent::Deposited { cents } => *cents_there += cents,
            WalletEvent::Withdrawn { cents } => *cents_there -= cents,
        }
    }
}

// The bank: starts a wallet when it is first asked for. In a cluster, sharding does this.

type Events = Coded<SqliteStore, MessagePack<WalletEvent>>;

struct Bank {
    events: Events,
}

struct ToWallet(PersistenceId, WalletCommand);

impl Actor for Bank {
    type Message = ToWallet;

    async fn receive(&mut self, ctx: &mut ActorContext<ToWallet>, ToWallet(id, command): ToWallet) -> Handled {
        let wallet = ctx.child(id.entity_id()).unwrap_or_else(|| {
            let entity = WalletEntity { id: id.clone() };
            ctx.spawn(id.entity_id(), EventSourcedBehavior::new(entity, self.events.clone()))
        });
        wallet.tell(command);
        Ok(Behavior::Same)
    }
}

// The read model: one row for each wallet.

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS wallet(name TEXT PRIMARY KEY, cents INTEGER NOT NULL, changes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS wallet_cents ON wallet(cents);";

/// Runs in the transaction that also notes how far the projection is.
fn add_up(db: &Transaction<'_>, event: &FeedEvent<WalletEvent>) -> Result<(), BoxError> {
    let change = match event.stored.event {
        WalletEvent::Deposited { cents } => i64::try_from(cents)?,
        WalletEvent::Withdrawn { cents } => -i64::try_from(cents)?,
    };
    db.prepare_cached(
        "INSERT INTO wallet(name, cents, changes) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET cents = cents + excluded.cents, changes = changes + 1",
    )?
    .execute((event.id.entity_id(), change))?;
    Ok(())
}

#[derive(Serialize)]
struct Row {
    wallet: String,
    cents: u64,
    changes: u64,
}

// HTTP.

#[derive(Clone)]
struct App {
    bank: ActorRef<ToWallet>,
    model: SqliteReadModel,
    balances: Projections,
}

type Refusal = (StatusCode, String);

async fn deposit(State(app): State<App>, Path((name, cents)): Path<(String, u64)>) -> Result<Json<Changed>, Refusal> {
    let id = PersistenceId::of("wallet", &name);
    let asked = app.bank.ask(|reply_to| ToWallet(id, WalletCommand::Deposit { cents, reply_to }), ANSWER_WITHIN);
    Ok(Json(asked.await.map_err(unavailable)?))
}

async fn withdraw(State(app): State<App>, Path((name, cents)): Path<(String, u64)>) -> Result<Json<Changed>, Refusal> {
    let id = PersistenceId::of("wallet", &name);
    let asked = app.bank.ask(|reply_to| ToWallet(id, WalletCommand::Withdraw { cents, reply_to }), ANSWER_WITHIN);
    let changed = asked.await.map_err(unavailable)?;
    changed.map(Json).ok_or_else(|| (StatusCode::CONFLICT, format!("{name} does not have {cents} cents\n")))
}

/// The read model may be some moments behind. Who wants to see a change says which: `after=WALLET:NUMBER`.
#[derive(Deserialize)]
struct Freshness {
    after: Option<String>,
}

async fn richest(
    State(app): State<App>,
    Query(Freshness { after }): Query<Freshness>,
) -> Result<Json<Vec<Row>>, Refusal> {
    if let Some(after) = after {
        let place = after.rsplit_once(':').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let Some((name, number)) = place else {
            return Err((StatusCode::BAD_REQUEST, format!("after={after}: write WALLET:NUMBER\n")));
        };
        let id = PersistenceId::of("wallet", name);
        app.balances.wait_until(&id, number, ANSWER_WITHIN).await.map_err(unavailable)?;
    }
    let rows = app.model.read(|db| {
        let mut query =
            db.prepare_cached("SELECT name, cents, changes FROM wallet ORDER BY cents DESC, name LIMIT 10")?;
        let rows = query.query_map((), |row| {
            let (cents, changes) = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
            Ok(Row { wallet: row.get(0)?, cents: cents.unsigned_abs(), changes: changes.unsigned_abs() })
        })?;
        rows.collect()
    });
    Ok(Json(rows.await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))?))
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}: whether it was stored is not known\n"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| "wallets-data".to_owned()));
    let port: u16 = args.next().map_or(Ok(8080), |port| port.parse()).context("the second argument is a port")?;

    let store = SqliteStore::open(&folder, SqliteOptions::default())?;
    let events = Coded::new(store.clone(), MessagePack::<WalletEvent>::new("wallet.Event", 1));
    let model = SqliteReadModel::open(folder.join("balances.db"), |db| db.execute_batch(TABLES))?;

    let system = ActorSystem::new("bank");
    let balances = Projection::events("balances", events.clone(), FeedQuery::of("wallet")).exactly_once(&model, add_up);
    let balances = Projections::spawn(&system, balances, 1);
    let bank = system.spawn("bank", actors::Props::new(move || Bank { events: events.clone() }));

    let app = Router::new()
        .route("/wallets/{name}/deposit/{cents}", post(deposit))
        .route("/wallets/{name}/withdraw/{cents}", post(withdraw))
        .route("/richest", get(richest))
        .with_state(App { bank, model, balances: balances.clone() });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("listening")?;
    println!("wallets in {} on http://{}", folder.display(), listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Without a handler for it ctrl-c ends the program at once, which loses nothing either.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;

    balances.stop(ANSWER_WITHIN).await.context("stopping the projection")?;
    system.terminate().await;
    store.close().await;
    Ok(())
}
