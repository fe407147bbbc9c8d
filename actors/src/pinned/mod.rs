//! Actors with a thread of their own: for handlers that block, and for state that must not leave its thread.
//!
//! A pinned actor differs from others in one place only: what says that it is to be run goes to its thread ([`Pin`])
//! instead of to the scheduler. Mailbox, engine, supervision and end are the same. Its thread is there from its spawn to its
//! end, restarts included, and is a tokio runtime of its own with a set for local tasks: timers and sockets that a
//! handler waits for are served by that thread, whatever the others are held up by, and `tokio::task::spawn_local` works.
//! Tasks a handler spawns with tokio itself end with the actor; what it spawns through its context runs on the system's
//! runtime as always.
//!
//! State that is not `Send` ([`LocalActor`]) is made, used and dropped on that thread: the factory travels there, the state
//! never leaves. What makes that known to the compiler is [`bound::Bound`], which checks the thread each time.

#[allow(unsafe_code)]
mod bound;
mod local;
mod thread;

pub use self::local::{Local, LocalActor};
pub(crate) use self::thread::{Pin, ThreadEnd};
