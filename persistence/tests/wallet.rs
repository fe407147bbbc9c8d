//! The wallet of the crate guide, as the tests' entity.

use actors::{ActorContext, ReplyTo};
use parking_lot::Mutex;
use persistence::{AppendError, Effect, EventSourced, PersistenceId, PersistenceSignal, Retention};
use std::sync::Arc;

pub(crate) struct WalletEntity {
    pub(crate) entity_type: &'static str,
    pub(crate) id: String,
    pub(crate) retention: Retention,
    pub(crate) signals: Signals,
}

/// What entities were told, in order.
#[derive(Clone, Default)]
pub(crate) struct Signals(Arc<Mutex<Vec<PersistenceSignal>>>);

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Wallet {
    pub(crate) cents: u64,
    frozen: bool,
}

pub(crate) enum WalletCommand {
    Deposit {
        cents: u64,
    },
    Withdraw {
        cents: u64,
        reply_to: ReplyTo<Result<u64, Insufficient>>,
    },
    /// Deposits each amount, all or none.
    DepositAll(Vec<u64>, ReplyTo<u64>),
    /// Deposits, and answers with the balance or why it is not known to be stored.
    TryDeposit(u64, ReplyTo<Result<u64, AppendError>>),
    Balance(ReplyTo<u64>),
    /// From now on `WhenThawed` waits.
    Freeze,
    Thaw,
    WhenThawed(ReplyTo<u64>),
    Nonsense,
    /// Panics in the event handler.
    Curse,
    Stop,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum WalletEvent {
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
    Frozen,
    Thawed,
    Cursed,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Insufficient {
    pub(crate) balance: u64,
}

impl WalletEntity {
    pub(crate) fn named(id: &str) -> Self {
        Self { entity_type: "wallet", id: id.to_owned(), retention: Retention::default(), signals: Signals::default() }
    }
}

impl Signals {
    pub(crate) fn push(&self, signal: PersistenceSignal) {
        self.0.lock().push(signal);
    }

    pub(crate) fn take(&self) -> Vec<PersistenceSignal> {
        std::mem::take(&mut self.0.lock())
    }
}

impl EventSourced for WalletEntity {
    type Command = WalletCommand;
    type Event = WalletEvent;
    type State = Wallet;

    fn persistence_id(&self) -> PersistenceId {
        PersistenceId::of(self.entity_type, &self.id)
    }

    fn handle_command(&self, wallet: &Wallet, command: WalletCommand) -> Effect<Self> {
        match command {
            WalletCommand::Deposit { cents } => Effect::persist(WalletEvent::Deposited { cents }),
            WalletCommand::Withdraw { cents, reply_to } if cents > wallet.cents => {
                Effect::reply(reply_to, Err(Insufficient { balance: wallet.cents }))
            }
            WalletCommand::Withdraw { cents, reply_to } => Effect::persist(WalletEvent::Withdrawn { cents })
                .then_reply(reply_to, |wallet: &Wallet| Ok(wallet.cents)),
            WalletCommand::DepositAll(amounts, reply_to) => {
                Effect::persist_all(amounts.into_iter().map(|cents| WalletEvent::Deposited { cents }))
                    .then_reply(reply_to, |wallet: &Wallet| wallet.cents)
            }
            WalletCommand::TryDeposit(cents, reply_to) => Effect::persist(WalletEvent::Deposited { cents })
                .then_reply_outcome(reply_to, |outcome| {
                    outcome.map(|wallet: &Wallet| wallet.cents).map_err(Clone::clone)
                }),
            WalletCommand::Balance(reply_to) => Effect::reply(reply_to, wallet.cents),
            WalletCommand::Freeze => Effect::persist(WalletEvent::Frozen),
            WalletCommand::Thaw => Effect::persist(WalletEvent::Thawed).then_unstash_all(),
            WalletCommand::WhenThawed(reply_to) if wallet.frozen => Effect::stash(WalletCommand::WhenThawed(reply_to)),
            WalletCommand::WhenThawed(reply_to) => Effect::reply(reply_to, wallet.cents),
            WalletCommand::Nonsense => Effect::unhandled(),
            WalletCommand::Curse => Effect::persist(WalletEvent::Cursed),
            WalletCommand::Stop => Effect::none().then_stop(),
        }
    }

    fn handle_event(wallet: &mut Wallet, event: &WalletEvent) {
        match event {
            WalletEvent::Deposited { cents } => wallet.cents += cents,
            WalletEvent::Withdrawn { cents } => wallet.cents -= cents,
            WalletEvent::Frozen => wallet.frozen = true,
            WalletEvent::Thawed => wallet.frozen = false,
            WalletEvent::Cursed => panic!("a curse"),
        }
    }

    fn retention(&self) -> Retention {
        self.retention
    }

    fn on_signal(&self, _wallet: &Wallet, _ctx: &mut ActorContext<WalletCommand>, signal: &PersistenceSignal) {
        self.signals.push(signal.clone());
    }
}
