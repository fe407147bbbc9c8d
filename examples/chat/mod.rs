//! The services of a streaming chat: who is a friend of whom, and who is online.
//!
//! ```text
//! browser ──┬── sidecar ── friends    an ORSet for each user
//!           └── sidecar ── presence   a Vote for each user
//! ```
//!
//! Both keep replicated state: a command is carried out on the node where it arrives, at once, and the
//! other nodes get to know of it. Start with [`friends`], which only answers commands; [`presence`] keeps
//! them open.

pub mod friends;
pub mod presence;
