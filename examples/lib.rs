//! Programs to learn from: actors in files of their own beside this one, and user functions in folders.
//!
//! [`tck_function`] is one function with services of every kind. [`function`] is what they are written
//! with.

#[path = "function/mod.rs"]
pub mod function;
#[path = "tck-function/mod.rs"]
pub mod tck_function;
