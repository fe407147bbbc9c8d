//! Programs to learn from: actors in files of their own beside this one, and user functions in folders.
//!
//! [`chat`] is the services of a chat, [`tck_function`] one function with services of every kind.
//! [`function`] is what they are written with.

#[path = "chat/mod.rs"]
pub mod chat;
#[path = "function/mod.rs"]
pub mod function;
#[path = "tck-function/mod.rs"]
pub mod tck_function;
