//! A wallet that remembers: an event-sourced entity on SQLite.
//!
//! ```text
//! cargo run -p examples --example wallet            # again and again: the balance goes on
//! cargo run -p examples --example wallet -- FOLDER  # with its store somewhere else
//! ```
//!
//! Kill it at any moment: what it has printed as durable is there the next time.

#![expect(clippy::print_stdout, reason = "a program for people to watch")]

use actors::{ActorSystem, ReplyTo};
use anyhow::Context;
use persistence::{
    Coded, Effect, EventSourced, EventSourcedBehavior, MessagePack, PersistenceId, Retention, SqliteOptions,
    SqliteStore,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

struct WalletEntity {
    id: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Wallet {
    cents: u64,
}

enum WalletCommand {
    Deposit { cents: u64 },
    Withdraw { cents: u64, reply_to: ReplyTo<Result<u64, Insufficient>> },
    Balance(ReplyTo<u64>),
    Stop,
}

#[derive(Clone, Serialize, Deserialize)]
enum WalletEvent {
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Debug, PartialEq)]
struct Insufficient {
    balance: u64,
}

impl EventSourced for WalletEntity {
    type Command = WalletCommand;
    type Event = WalletEvent;
    type State = Wallet;

    fn persistence_id(&self) -> PersistenceId {
        PersistenceId::of("wallet", &self.id)
    }

    fn handle_command(&self, wallet: &Wallet, command: WalletCommand) -> Effect<Self> {
        match command {
            WalletCommand::Deposit { cents } => Effect::persist(WalletEvent::Deposited { cents }),
            WalletCommand::Withdraw { cents, reply_to } if cents > wallet.cents => {
                Effect::reply(reply_to, Err(Insufficient { balance: wallet.cents }))
            }
            WalletCommand::Withdraw { cents, reply_to } => Effect::persist(WalletEvent::Withdrawn { cents })
                .then_reply(reply_to, |wallet: &Wallet| Ok(wallet.cents)), // runs after the event is durable
            WalletCommand::Balance(reply_to) => Effect::reply(reply_to, wallet.cents),
            WalletCommand::Stop => Effect::none().then_stop(),
        }
    }

    fn handle_event(wallet: &mut Wallet, event: &WalletEvent) {
        match event {
            WalletEvent::Deposited { cents } => wallet.cents += cents,
            WalletEvent::Withdrawn { cents } => wallet.cents -= cents,
        }
    }

    fn retention(&self) -> Retention {
        Retention::snapshot_every(100).keep_snapshots(2)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "wallet-data".to_owned());
    let store = SqliteStore::open(&folder, SqliteOptions::default())?;
    let system = ActorSystem::new("bank");
    let entity = WalletEntity { id: "ada".to_owned() };
    let events = Coded::new(store.clone(), MessagePack::<WalletEvent>::new("wallet.Event", 1));
    let snapshots = Coded::new(store.clone(), MessagePack::<Wallet>::new("wallet.State", 1));
    let wallet = system.spawn("ada", EventSourcedBehavior::new(entity, events).snapshots(snapshots));

    let found = wallet.ask(WalletCommand::Balance, ANSWER_WITHIN).await.context("balance")?;
    println!("the wallet in {folder} holds {found} cents");

    (0..50).for_each(|_| wallet.tell(WalletCommand::Deposit { cents: 3 }));
    let withdraw = |cents| wallet.ask(move |reply_to| WalletCommand::Withdraw { cents, reply_to }, ANSWER_WITHIN);
    match withdraw(40).await.context("withdraw")? {
        Ok(balance) => println!("50 deposits of 3 cents and a withdrawal of 40 are durable: {balance} cents"),
        Err(Insufficient { balance }) => println!("only {balance} cents, nothing withdrawn"),
    }
    if let Err(Insufficient { balance }) = withdraw(1_000_000).await.context("withdraw")? {
        println!("a million is too much for {balance} cents: refused, and nothing stored");
    }
    println!("{} events in {} syncs of the disk", store.events(), store.syncs());

    wallet.tell(WalletCommand::Stop);
    system.terminate().await;
    store.close().await;
    Ok(())
}
