//! Random schedules of the whole: a real mailbox and real answers, run as the engine runs them, by workers that take hints
//! and by askers that keep theirs and run the actor themselves.
//!
//! The actor here does what the loop of an actor does with its mailbox: the runtime's items first, then messages; a handler
//! that awaits parks for its waker; after its share it yields; it is stopped at once or drained. A thread that is never
//! woken ends in a deadlock, which the checker reports with the schedule that led to it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex as Plain;

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex};

use crate::ask::AskError;
use crate::block_queue::{For, Park, Queue, Receiver, Refusal, Room, Wake};
use crate::reply_slot::{self, Filler};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, hint, thread};

const SENDERS: usize = 2;
const ASKERS: usize = 2;
const EACH: u32 = 3;
const SHARE: u32 = 2;

struct Message {
    sender: usize,
    number: u32,
    reply: Option<Reply>,
}

/// Dropped unanswered it ends the ask, as `ReplyTo` does.
struct Reply(Option<Filler<u32>>);

impl Reply {
    fn fill(&mut self, outcome: Result<u32, AskError>) {
        if let Some(filler) = self.0.take() {
            filler.fill(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.fill(Err(AskError::NoReply));
    }
}

enum Item {
    Note,
    Stop,
    Drain,
}

/// What only the runner touches.
#[derive(Default)]
struct Actor {
    handled: Vec<(usize, u32)>,
    returned: Vec<(usize, u32)>,
    notes: usize,
    turns: u32,
    awaits: bool,
    drains: bool,
    ended: bool,
}

enum Pending {
    Idle,
    Handler,
    Share,
    Ended,
}

/// A number under a lock, and who waits for it to be more than none.
#[derive(Default)]
struct Count(Mutex<usize>, Condvar);

impl Count {
    fn add(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_one();
    }

    fn take(&self) {
        let mut count = self.0.lock().unwrap();
        while *count == 0 {
            count = self.1.wait(count).unwrap();
        }
        *count -= 1;
    }
}

struct World {
    queue: Queue<Message, Item>,
    /// Taken out by whoever runs the actor.
    actor: Plain<Option<Actor>>,
    hints: Count,
    /// Handlers that await.
    awaited: Count,
    over: AtomicBool,
    ready: AtomicBool,
    ended: Count,
}

impl World {
    fn schedule(&self, wake: Wake) {
        if wake == Wake::Schedule {
            self.hints.add();
        }
    }

    fn works(&self) {
        loop {
            self.hints.take();
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            self.run();
        }
    }

    /// Goes on with what a handler awaits.
    fn wakes(&self) {
        loop {
            self.awaited.take();
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            self.ready.store(true, Ordering::SeqCst);
            self.schedule(self.queue.notify());
        }
    }

    fn run(&self) {
        // SAFETY: the caller has the right to run it; that no other has is what is checked.
        #[allow(unsafe_code)]
        let mut mailbox = unsafe { Receiver::new() };
        let (mut left, mut spins) = (SHARE, 1);
        loop {
            let mut actor = self.actor.lock().unwrap().take().expect("one at a time");
            let pending = self.poll(&mut actor, &mut mailbox, &mut left);
            *self.actor.lock().unwrap() = Some(actor);
            let parked = match pending {
                Pending::Ended => return self.ended.add(), // the right is kept for good
                Pending::Share => break,
                Pending::Idle => mailbox.park(&self.queue, For::Messages),
                Pending::Handler => mailbox.park(&self.queue, For::Waker),
            };
            match parked {
                Park::Parked => return,
                Park::Busy if spins > 0 => {
                    spins -= 1;
                    hint::spin_loop();
                }
                Park::Busy => break,
            }
        }
        mailbox.yield_now(&self.queue);
        self.hints.add();
    }

    fn poll(&self, actor: &mut Actor, mailbox: &mut Receiver<Message, Item>, left: &mut u32) -> Pending {
        assert!(!actor.ended, "nobody runs what has ended");
        loop {
            if actor.awaits {
                if !self.ready.swap(false, Ordering::SeqCst) {
                    return Pending::Handler;
                }
                actor.awaits = false;
            }
            while let Some(item) = mailbox.next_internal(&self.queue) {
                match item {
                    Item::Note => actor.notes += 1,
                    Item::Drain => actor.drains = true,
                    Item::Stop => return self.end(actor, mailbox),
                }
            }
            if *left == 0 {
                return Pending::Share;
            }
            *left -= 1;
            match mailbox.pop(&self.queue) {
                Some(message) => self.handle(actor, message),
                None if actor.drains && mailbox.is_empty(&self.queue) => return self.end(actor, mailbox),
                None => return Pending::Idle,
            }
        }
    }

    fn handle(&self, actor: &mut Actor, mut message: Message) {
        actor.handled.push((message.sender, message.number));
        if let Some(reply) = &mut message.reply {
            reply.fill(Ok(message.number));
        }
        actor.turns += 1;
        if actor.turns.is_multiple_of(3) {
            actor.awaits = true;
            self.awaited.add();
        }
    }

    fn end(&self, actor: &mut Actor, mailbox: &mut Receiver<Message, Item>) -> Pending {
        let (messages, items) = mailbox.end(&self.queue);
        actor.returned = messages.iter().map(|message| (message.sender, message.number)).collect();
        actor.notes += items.iter().filter(|item| matches!(item, Item::Note)).count();
        actor.ended = true;
        drop(messages);
        Pending::Ended
    }

    /// Waits for room if there is none.
    fn sends(&self, sender: usize) -> u32 {
        for number in 0..EACH {
            let message = Message { sender, number, reply: None };
            let pushed = match self.queue.push(message, Room::Ordinary) {
                Ok(wake) => Ok(wake),
                Err((Refusal::Stopped, _)) => return number,
                Err((Refusal::Full, message)) => match block_on(self.queue.reserve()) {
                    Ok(permit) => permit.push(message).map_err(drop),
                    Err(()) => Err(()),
                },
            };
            match pushed {
                Ok(wake) => self.schedule(wake),
                Err(()) => return number,
            }
        }
        EACH
    }

    /// How many questions were accepted; each gets an answer, or word that there is none.
    fn asks(&self, sender: usize) -> u32 {
        let mut accepted = 0;
        for number in 0..EACH {
            let (filler, mut slot) = reply_slot::pair();
            let message = Message { sender, number: accepted, reply: Some(Reply(Some(filler))) };
            match self.queue.push(message, Room::Adapted) {
                Ok(Wake::Schedule) if number == 1 => self.run(),
                Ok(wake) => self.schedule(wake),
                Err((Refusal::Stopped, _)) => return accepted,
                Err((Refusal::Full, _)) => continue,
            }
            if number == 2 && thread_rng().gen_bool(0.5) {
                let _ = slot.give_up();
            } else {
                match block_on(poll_fn(|cx| slot.poll(cx))) {
                    Ok(answer) => assert_eq!(answer, accepted),
                    Err(error) => assert_eq!(error, AskError::NoReply),
                }
            }
            accepted += 1;
        }
        accepted
    }

    /// How many items were taken; then the end.
    fn notes_and_ends(&self) -> usize {
        let mut taken = 0;
        for _ in 0..2 {
            match self.queue.push_internal(Item::Note) {
                Ok(wake) => self.schedule(wake),
                Err(_) => panic!("it has not ended yet"),
            }
            taken += 1;
        }
        let last = if thread_rng().gen_bool(0.5) {
            self.queue.shut();
            Item::Drain
        } else {
            Item::Stop
        };
        match self.queue.push_internal(last) {
            Ok(wake) => self.schedule(wake),
            Err(_) => panic!("it has not ended yet"),
        }
        taken
    }
}

fn run(capacity: usize) {
    let world = Arc::new(World {
        queue: Queue::new(capacity),
        actor: Plain::new(Some(Actor::default())),
        hints: Count::default(),
        awaited: Count::default(),
        over: AtomicBool::new(false),
        ready: AtomicBool::new(false),
        ended: Count::default(),
    });
    let with = |f: Box<dyn FnOnce(&World) -> u32 + Send>| {
        let world = world.clone();
        thread::spawn(move || f(&world))
    };
    world.schedule(Wake::Schedule); // it is born runnable
    let helpers: Vec<_> = (0..3)
        .map(|helper| {
            with(Box::new(move |world| {
                if helper < 2 {
                    world.works()
                } else {
                    world.wakes()
                }
                0
            }))
        })
        .collect();
    let tellers: Vec<_> = (0..SENDERS).map(|sender| with(Box::new(move |world| world.sends(sender)))).collect();
    let askers: Vec<_> =
        (SENDERS..SENDERS + ASKERS).map(|sender| with(Box::new(move |world| world.asks(sender)))).collect();
    let notes = world.notes_and_ends();
    let accepted: Vec<u32> = tellers.into_iter().chain(askers).map(|thread| thread.join().unwrap()).collect();
    world.ended.take();
    world.over.store(true, Ordering::SeqCst);
    (0..2).for_each(|_| world.hints.add());
    world.awaited.add();
    helpers.into_iter().for_each(|helper| assert_eq!(helper.join().unwrap(), 0));

    let actor = world.actor.lock().unwrap().take().expect("nobody runs it");
    assert!(actor.ended && actor.notes == notes);
    let seen: VecDeque<_> = actor.handled.iter().chain(&actor.returned).collect();
    for (sender, accepted) in accepted.into_iter().enumerate() {
        let of_sender: Vec<u32> = seen.iter().filter(|(by, _)| *by == sender).map(|(_, number)| *number).collect();
        assert_eq!(of_sender, (0..accepted).collect::<Vec<_>>(), "sender {sender}");
    }
    assert!(!actor.drains || actor.returned.is_empty(), "what was accepted before a drain is handled");
}

#[test]
fn shuttle_a_bounded_mailbox_at_random() {
    shuttle::check_random(|| run(1), 3_000);
}

#[test]
fn shuttle_an_unbounded_mailbox_at_random() {
    shuttle::check_random(|| run(usize::MAX), 3_000);
}

#[test]
fn shuttle_a_bounded_mailbox_by_priorities() {
    shuttle::check_pct(|| run(2), 3_000, 3);
}

#[test]
fn shuttle_an_unbounded_mailbox_by_priorities() {
    shuttle::check_pct(|| run(usize::MAX), 3_000, 3);
}
