//! What travels, and the actor that gets it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actors::{Actor, ActorContext, Behavior, Handled, ReplyTo};
use cluster::WireMessage;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Messages that may be on their way: less than what waits for a node at most, so that none is dropped.
pub const AHEAD: u64 = 2_048;

/// Messages after which a sender gives way to others on its thread, as an actor does after some.
const TURN: u64 = AHEAD / 8;

#[derive(Serialize, Deserialize)]
pub struct Note {
    pub number: u64,
    pub text: String,
}

impl Note {
    pub fn new(number: u64) -> Self {
        Self { number, text: "a dozen or so".to_owned() }
    }
}

#[derive(Serialize, Deserialize)]
pub enum Message {
    Note(Note),
    Echo { number: u64, reply_to: ReplyTo<u64> },
}

impl WireMessage for Message {
    const NAME: &'static str = "bench.Message";
}

/// What has come.
#[derive(Default)]
pub struct Received {
    count: AtomicU64,
    sum: AtomicU64,
    /// The count that somebody waits for.
    awaited: AtomicU64,
    reached: Notify,
}

impl Received {
    pub fn add(&self, note: &Note) {
        self.sum.fetch_add(note.number + note.text.len() as u64, Ordering::Relaxed);
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.awaited.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until so many have come. For one at a time.
    async fn until(&self, count: u64) {
        self.awaited.store(count, Ordering::SeqCst);
        while self.count() < count {
            self.reached.notified().await;
        }
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Hands `count` notes to `send`, never too far ahead of what has come, and waits until all have.
    pub async fn keep_up(&self, count: u64, mut send: impl FnMut(Note)) {
        let (before, sum) = (self.count(), self.sum());
        let mut expected = 0;
        for number in 1..=count {
            let note = Note::new(number);
            expected += number + note.text.len() as u64;
            send(note);
            if number % TURN == 0 {
                self.until(before + number.saturating_sub(AHEAD - TURN)).await;
                // Whoever writes to the network has the same thread, and nothing is sent while it is kept from that.
                tokio::task::yield_now().await;
            }
        }
        self.until(before + count).await;
        assert_eq!(self.sum() - sum, expected, "notes lost, or others instead");
    }
}

/// Takes notes, and gives numbers back.
pub struct Desk {
    pub received: Arc<Received>,
}

impl Actor for Desk {
    type Message = Message;

    async fn receive(&mut self, _ctx: &mut ActorContext<Message>, message: Message) -> Handled {
        match message {
            Message::Note(note) => self.received.add(&note),
            Message::Echo { number, reply_to } => reply_to.tell(number),
        }
        Ok(Behavior::Same)
    }
}
