//! Eight threads that tell, send and ask actors which fail, stop, are drained and killed meanwhile: every amount is
//! handled or dropped, once; every drop is counted; every end is told once and last.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, BoxError, Handled, Mailbox, Props, ReplyTo,
    SupervisorStrategy,
};

const THREADS: usize = 8;
const EACH: u64 = 1_200;
const WITHIN: Duration = Duration::from_secs(60);

/// What became of the amounts.
#[derive(Default)]
struct Ledger {
    handled: AtomicU64,
    answered: AtomicU64,
    dropped: AtomicU64,
    /// Messages dropped: each has to be a dead letter.
    letters: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Ledger {
    fn add(to: &AtomicU64, amount: u64) {
        to.fetch_add(amount, Ordering::SeqCst);
    }

    fn settled(&self) -> u64 {
        self.handled.load(Ordering::SeqCst) + self.dropped.load(Ordering::SeqCst)
    }

    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }
}

thread_local! {
    /// This thread is in the call that sends a question: one refused in there is handed back to its asker, not counted.
    static ASKS: Cell<bool> = const { Cell::new(false) };
}

/// An amount that notices when nobody handles it.
struct Amount(u64, Arc<Ledger>);

impl Amount {
    fn take(mut self) -> u64 {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Amount {
    fn drop(&mut self) {
        if self.0 > 0 {
            Ledger::add(&self.1.letters, u64::from(!ASKS.get()));
            Ledger::add(&self.1.dropped, self.0);
        }
    }
}

enum Entry {
    Add(Amount),
    Ask(Amount, ReplyTo<u64>),
    Fail(Amount),
    Stop(Amount),
}

/// Handles one entry at a time, and notices if that is not so.
struct Account {
    id: u64,
    failed: bool,
    inside: Arc<AtomicU64>,
    bank: ActorRef<Note>,
    ledger: Arc<Ledger>,
}

impl Actor for Account {
    type Message = Entry;

    async fn receive(&mut self, _ctx: &mut ActorContext<Entry>, entry: Entry) -> Handled {
        if self.inside.fetch_add(1, Ordering::SeqCst) != 0 || self.failed {
            self.ledger.fault(format!("account {} runs twice, or on after its failure", self.id));
        }
        self.bank.tell(Note::Handled(self.id));
        let (amount, behavior) = match entry {
            Entry::Add(amount) => (amount.take(), Ok(Behavior::Same)),
            Entry::Ask(amount, reply_to) => {
                let amount = amount.take();
                Ledger::add(&self.ledger.answered, amount);
                reply_to.tell(amount);
                (amount, Ok(Behavior::Same))
            }
            Entry::Fail(amount) => {
                self.failed = true;
                (amount.take(), Err(BoxError::from("told to")))
            }
            Entry::Stop(amount) => (amount.take(), Ok(Behavior::Stopped)),
        };
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Ledger::add(&self.ledger.handled, amount);
        behavior
    }
}

enum Note {
    Open(usize),
    Handled(u64),
    Gone(usize, u64),
    End(usize, How),
    /// How many accounts were opened, and how many of them are gone.
    Count(ReplyTo<(u64, u64)>),
}

enum How {
    Stop,
    Drain,
    Kill,
}

type Slots = Arc<Vec<Mutex<Option<ActorRef<Entry>>>>>;

/// Opens an account for each slot, and another one when it hears that the last has ended.
struct Bank {
    slots: Slots,
    opened: u64,
    gone: BTreeSet<u64>,
    ledger: Arc<Ledger>,
}

impl Actor for Bank {
    type Message = Note;

    async fn receive(&mut self, ctx: &mut ActorContext<Note>, note: Note) -> Handled {
        match note {
            Note::Open(slot) => self.open(slot, ctx),
            Note::Handled(id) if self.gone.contains(&id) => self.ledger.fault(format!("{id} said more after its end")),
            Note::Handled(_) => {}
            Note::Gone(slot, id) => {
                if !self.gone.insert(id) {
                    self.ledger.fault(format!("the end of {id} came twice"));
                }
                self.open(slot, ctx);
            }
            Note::End(slot, how) => {
                let Some(account) = self.slots[slot].lock().unwrap().clone() else { return Ok(Behavior::Same) };
                match how {
                    How::Stop => ctx.stop(&account),
                    How::Drain => ctx.drain(&account, WITHIN),
                    How::Kill => ctx.kill(&account),
                }
            }
            Note::Count(reply_to) => reply_to.tell((self.opened, self.gone.len() as u64)),
        }
        Ok(Behavior::Same)
    }
}

impl Bank {
    fn open(&mut self, slot: usize, ctx: &mut ActorContext<Note>) {
        self.opened += 1;
        let (id, bank, ledger, inside) = (self.opened, ctx.this().clone(), self.ledger.clone(), Arc::default());
        let props = Props::new(move || {
            let (bank, ledger, inside) = (bank.clone(), ledger.clone(), Arc::clone(&inside));
            Account { id, failed: false, inside, bank, ledger }
        });
        let props = props.supervise(SupervisorStrategy::restart()).mailbox(Mailbox::bounded(32));
        let account = ctx.spawn_anonymous(props);
        ctx.watch_with(&account, Note::Gone(slot, id));
        *self.slots[slot].lock().unwrap() = Some(account);
    }
}

/// Sends its share of amounts in every way there is. Their sum, and the sum of those that were answered.
async fn sends(thread: usize, slots: Slots, bank: ActorRef<Note>, ledger: Arc<Ledger>) -> (u64, u64) {
    let (mut sent, mut answered) = (0, 0);
    for number in 1..=EACH {
        let slot = (thread + number as usize) % THREADS;
        let Some(account) = slots[slot].lock().unwrap().clone() else { continue };
        let value = number * THREADS as u64 + thread as u64;
        sent += value;
        let amount = Amount(value, ledger.clone());
        match number % 8 {
            0 | 1 => account.tell(Entry::Add(amount)),
            2 | 3 => {
                if let Err(stopped) = account.send(Entry::Add(amount)).await {
                    let (Entry::Add(amount) | Entry::Ask(amount, _) | Entry::Fail(amount) | Entry::Stop(amount)) =
                        stopped.0;
                    sent -= amount.take(); // handed back
                }
            }
            4 | 5 => {
                ASKS.set(true);
                let answer = account.ask(|reply_to| Entry::Ask(amount, reply_to), WITHIN);
                ASKS.set(false);
                match answer.await {
                    Ok(answer) if answer == value => answered += answer,
                    Err(AskError::Stopped | AskError::Full) => {}
                    other => ledger.fault(format!("asked {value}: {other:?}")),
                }
            }
            6 if number % 40 == 6 => account.tell(Entry::Fail(amount)),
            7 if number % 80 == 7 => account.tell(Entry::Stop(amount)),
            _ => account.tell(Entry::Add(amount)),
        }
        let how = match number % 150 {
            50 => How::Stop,
            100 => How::Drain,
            149 => How::Kill,
            _ => continue,
        };
        bank.tell(Note::End(slot, how));
    }
    (sent, answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_amount_is_handled_or_dropped_once_and_every_drop_is_counted() {
    let system = ActorSystem::new("exact sums");
    let ledger = Arc::new(Ledger::default());
    let slots: Slots = Arc::new((0..THREADS).map(|_| Mutex::default()).collect());
    let bank = Bank { slots: slots.clone(), opened: 0, gone: BTreeSet::new(), ledger: ledger.clone() };
    let bank = system.spawn("bank", Props::from(bank).mailbox(Mailbox::unbounded()));
    (0..THREADS).for_each(|slot| bank.tell(Note::Open(slot)));
    bank.ask(Note::Count, WITHIN).await.unwrap();

    let senders: Vec<_> =
        (0..THREADS).map(|thread| tokio::spawn(sends(thread, slots.clone(), bank.clone(), ledger.clone()))).collect();
    let (mut sent, mut answered) = (0, 0);
    for sender in senders {
        let (by_one, of_those) = sender.await.unwrap();
        sent += by_one;
        answered += of_those;
    }
    // What was said before this arrives before it; what it sets off comes to rest with the system.
    let (opened, gone) = bank.ask(Note::Count, WITHIN).await.unwrap();
    assert!(opened - gone <= THREADS as u64 && gone > THREADS as u64, "{opened} opened, {gone} gone");
    while ledger.settled() < sent {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    let letters = system.event_stream().dead_letters_total();
    assert_eq!(ledger.letters.load(Ordering::SeqCst), letters, "each drop is counted once");
    system.terminate().await;
    assert_eq!(ledger.settled(), sent, "each amount once");
    assert_eq!(ledger.answered.load(Ordering::SeqCst), answered);
    assert_eq!(*ledger.faults.lock().unwrap(), [""; 0]);
}
